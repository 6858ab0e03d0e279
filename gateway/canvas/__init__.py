"""Composed work: chains, groups and chords as Celery's plain dicts, published and counted."""
