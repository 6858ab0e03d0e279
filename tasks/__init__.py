"""Message in, result out: the Celery workers of a Penstock deployment.

Knows Celery, Redis and MongoDB, and which tasks exist. Refuses to know HTTP: it never imports
`gateway`, `aiohttp` or `aio_pika`; the two processes share names and bytes, written down in
`topology` and checked by contract tests.

Read `registry.py` (every task on one page), then `execution.py` (what happens around one
execution), `runtime.py` (where coroutines run), `states.py` (what is written to Redis), and then
the places where Celery itself is extended: `consumer.py`, `amqp.py`, `result_backend.py`.
"""
