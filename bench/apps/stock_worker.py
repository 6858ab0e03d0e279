"""The same trivial task on stock Celery: QUEUE names its queue, PROMISES=1 has it promise as ours.

With promises: late acknowledgement and STARTED told, as our workers do. Without: Celery's defaults.
"""

import os

from celery import Celery
from kombu.entity import Exchange, Queue

app = Celery("stock", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
_QUEUE = os.environ["QUEUE"]
_PROMISES = os.environ["PROMISES"] == "1"
app.conf.update(
    task_queues=[
        Queue(
            _QUEUE,
            Exchange("tasks", type="direct", no_declare=True),
            routing_key=_QUEUE,
            queue_arguments={"x-queue-type": "quorum"},  # or it asks for a global QoS
            no_declare=True,
        )
    ],
    task_acks_late=_PROMISES,
    task_reject_on_worker_lost=_PROMISES,
    task_track_started=_PROMISES,
    worker_prefetch_multiplier=int(os.environ["PREFETCH"]),
    broker_connection_retry_on_startup=True,
    broker_heartbeat=10,
)


@app.task(name="demo.add")
def add(x: int, y: int) -> int:
    return x + y
