"""Side-by-side measurements: this gateway, bare handlers, and what others use.

Every figure that counts is a ratio between contestants of one run on one machine. Read
`contestants.py` (who), `rounds.py` (how), `goals.py` (against what).
"""
