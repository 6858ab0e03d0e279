"""Chains, groups and chords: planned, published, and their groups read."""
