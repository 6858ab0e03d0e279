"""HTTP in, Celery task message out; task states out.

The gateway knows the bytes of Celery's task message and of its result records. It refuses to
know Celery itself: no import of `tasks`, `celery` or `kombu`.

Reading order: `handlers/submit.py`, `task_request.py`, `task_message.py`, `publisher.py`,
then `states.py` and `watch.py`.
"""
