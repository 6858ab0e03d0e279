"""HTTP in, Celery task message out; task states out.

The gateway knows the bytes of Celery's task message and of its result records. It refuses to
know Celery itself: no import of `tasks`, `celery` or `kombu`.

A folder imports only from the layers below it (`tests/test_imports.py` holds the table):

    app, server          what is built, and how it starts
    api                  one file per noun: routes, requests, answers
    canvas  schedules  ingesting  watching  operating
    submitting           a task: checked, planned, published
    endings              callbacks, revocation, what the broker says of unrun tasks
    states               what Redis says of a task
    access               who calls, what they may do and how much of it
    http  rabbitmq  redis    the only homes of aiohttp's server, aio-pika and redis-py
    sharing  decoding    fairness among tenants; bytes to values. Pure
    config  errors  telemetry
"""
