"""Celery applications that know nothing of the gateway, drilled beside ours.

Checks what a gateway promises in front of them (docs/celery-apps.md): what it reports is so. Read
`layout` (what there is), `load` (what is sent), `books` (what must have become of it). Stock Celery
of each version runs `app`, which imports nothing else.
"""
