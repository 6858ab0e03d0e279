"""RabbitMQ, Redis, MongoDB and our own processes as children of one command.

Knows how each program is started, when it is ready, how it is stopped, and that nothing it
started outlives it. It refuses to know what a message or a document looks like.

Read `children.py` (one child process), `rabbit.py`, `redis_server.py`, `mongo.py` (the three
servers), `stack.py` (everything together, for tests), `supervisor.py` and `__main__.py`
(`make run`).
"""
