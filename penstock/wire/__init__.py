"""Names and bytes between processes, for the gateway and the workers alike.

Imports the standard library only, so that every process can afford it.
"""
