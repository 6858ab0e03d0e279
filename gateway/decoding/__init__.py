"""From the octets of a body to JSON texts: gunzip, byte order, lines, arrays. Pure.

What it is given comes in chunks and may be anything; each piece of work is bounded.
"""
