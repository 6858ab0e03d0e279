"""The task that stores documents."""

STORE_TASK = "documents.store"
"""Reached by ingest alone: it writes where it is asked to, so no client may submit it."""
