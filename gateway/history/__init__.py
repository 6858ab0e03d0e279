"""What the history process knows, asked over HTTP: the only folder that knows where it listens.

Read in this order: `client`, `filters` (which tasks), `cursors`, `rows` (what comes back).
"""
