"""What happened: every task's changes in MongoDB, written beside its path, and asked by gateways.

It reads streams of Redis that scripts, gateways and workers append to, and Celery's events. It
knows MongoDB, which gateways do not; no gateway, no task and no layout is known here. Read in this
order: `config`, `database` (collections and indexes), `sources/` (what comes in), `writing/` (how
facts become documents), `server` and `queries/` (what goes out).
"""
