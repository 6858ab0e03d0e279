"""An installed application with a request class of its own, as Celery documents it."""
# mypy: ignore-errors

import asyncio
import os
from pathlib import Path

from celery import Celery, Task
from celery.worker.request import Request
from kombu import Queue

import penstock

app = Celery("requests", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue="requests",
    task_queues=[Queue("requests")],
    broker_connection_retry_on_startup=True,
)
penstock.install(app)


def note(mark: str) -> None:
    """Note a run."""
    with Path(os.environ["RUNS_FILE"]).open("a", encoding="utf-8") as runs:
        runs.write(f"{mark}\n")


class NotingRequest(Request):
    """Notes failures."""

    def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
        """Do what Celery does, note it, and stumble."""
        super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        note(f"on_failure {self.task_id}")
        raise LookupError("a fault of the application")


class Noting(Task):
    """Base of tasks whose requests note failures."""

    abstract = True
    Request = NotingRequest


@app.task(name="requests.where", base=Noting, bind=True)
def where(self):
    """Return the queue of the delivery, which a request of ours knows."""
    note(f"where {self.request.id}")
    return self.request.delivery_info["queue"]


@app.task(name="requests.where_async", base=Noting, bind=True)
async def where_async(self):
    """Do so as a coroutine."""
    await asyncio.sleep(0)
    note(f"where {self.request.id}")
    return self.request.delivery_info["queue"]


@app.task(name="requests.fail", base=Noting)
def fail():
    """Fail."""
    raise ValueError("no")


@app.task(name="requests.fail_async", base=Noting)
async def fail_async():
    """Fail as a coroutine."""
    raise ValueError("no")
