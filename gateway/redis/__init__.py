"""The only home of redis-py: a client for commands, a connection for notices, their faults."""
