"""What exists on RabbitMQ, as data, and which message goes where.

It knows exchanges, queues, bindings, task routes, dead letters and delays, and how to declare them
with either client library. It refuses to know HTTP, Celery tasks, Redis and MongoDB: of this
project it reads the names in `penstock.wire` only, and both processes read it.

Read it in this order: ``default.toml`` (the layout that ships), ``entities.py`` and ``model.py``
(the same as Python values, validated, with ``match``), ``layout.py`` (file to values),
``delay_levels.py``, ``plan.py`` (everything that a layout makes on the broker), ``declare.py``
(aio-pika) and ``kombu_queues.py`` (kombu), ``__main__.py`` (the command line).
"""
