"""What tests run against: servers of the session, a gateway in the test's loop, workers.

`servers` gives each test a corner of RabbitMQ, Redis and MongoDB; `gateway` serves one there, on
the product's own listener; `sockets` sends it what no HTTP client would; `workers` runs Celery.
"""
