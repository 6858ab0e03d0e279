"""Periodic tasks: the entries of the beat, written and read as RedBeat keeps them."""
