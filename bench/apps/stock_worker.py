"""The tasks of `coroutine_tasks.py` on stock Celery, as functions, on the queue `default`.

PROMISES=1: late acknowledgement and STARTED told, as our workers do. Otherwise: Celery's defaults.
"""

import os
from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue
from pymongo import MongoClient

app = Celery("stock", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
_QUEUE = "default"
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
    task_default_queue=_QUEUE,
    task_default_exchange="tasks",
    task_default_routing_key=_QUEUE,
    task_acks_late=_PROMISES,
    task_reject_on_worker_lost=_PROMISES,
    task_track_started=_PROMISES,
    broker_connection_retry_on_startup=True,
    broker_heartbeat=10,
)
if _PROMISES:
    app.conf.worker_prefetch_multiplier = 1
_mongo: dict[int, MongoClient[Any]] = {}


@app.task(name="demo.plus")
def plus(x: int, y: int) -> int:
    return x + y


@app.task(name="demo.insert")
def insert(document: dict[str, Any]) -> str:
    if os.getpid() not in _mongo:  # its threads do not survive a fork
        _mongo[os.getpid()] = MongoClient(os.environ["MONGO_URL"])
    outcome = _mongo[os.getpid()]["bench"]["readings"].insert_one(document)
    return str(outcome.inserted_id)
