"""The only home of redis-py: one client, one mapping of its faults."""
