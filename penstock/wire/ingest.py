"""The task that stores documents."""

STORE_TASK = "documents.store"
"""Reached by ingest alone: it writes where it is asked to, so the gateway lets nobody submit it."""
