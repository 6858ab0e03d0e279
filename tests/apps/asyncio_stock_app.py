"""A stock app with the same tasks: nothing of ours but the pool."""

import os

from celery import Celery
from kombu.entity import Queue

from tests.apps.asyncio_tasks import add_tasks, hear_signals

app = Celery("stock", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_queues=[Queue("stock", routing_key="stock")],
    task_default_queue="stock",
    task_track_started=True,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_soft_shutdown_timeout=float(os.environ.get("SOFT_S", "0")),
    broker_connection_retry_on_startup=True,
)
if os.environ.get("WORKER_POOL"):
    app.conf.worker_pool = os.environ["WORKER_POOL"]
if os.environ.get("LATE"):
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)
# Stock Celery stores RETRY after it has published: over the end of a retry that is quicker.
add_tasks(app, retry_s=0.5)
hear_signals()
