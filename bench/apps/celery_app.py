"""The Celery application of the peers, set up as Celery's documentation says for RabbitMQ quorum
queues and a Redis result backend, with publisher confirms on."""

import os

from celery import Celery
from kombu.entity import Exchange, Queue

app = Celery("bench", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    broker_transport_options={"confirm_publish": os.environ.get("CONFIRM", "1") == "1"},
    task_default_queue="default",
    task_default_exchange="tasks",
    task_default_routing_key="default",
    # the queue that every contestant publishes to, declared beforehand
    task_queues=[
        Queue(
            "default",
            Exchange("tasks", type="direct", no_declare=True),
            routing_key="default",
            queue_arguments={"x-queue-type": "quorum"},  # or a worker asks for a global QoS
            no_declare=True,
        )
    ],
    worker_detect_quorum_queues=True,
    broker_connection_retry_on_startup=True,
)


@app.task(name="demo.add")
def add(x: int, y: int) -> int:
    return x + y
