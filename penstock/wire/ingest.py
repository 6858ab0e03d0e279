"""The task that stores documents, and how a worker knows that the gateway has checked them."""

STORE_TASK = "documents.store"
"""Reached by ingest alone: it writes where it is asked to, so the gateway lets nobody submit it."""
CHECKED_HEADER = "x-penstock-checked"
"""On the message of a batch: the gateway has checked collection and documents. A client of the
gateway cannot set it, since header names that begin with `x-` are refused."""
