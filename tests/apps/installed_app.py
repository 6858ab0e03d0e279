"""An application of stock Celery with one line of this library, or without it (`INSTALL=no`)."""
# mypy: ignore-errors

import asyncio
import json
import os
import time
from pathlib import Path

from celery import Celery, shared_task
from kombu import Exchange, Queue

import penstock

INSTALL = os.environ.get("INSTALL", "no")
"""When the line is executed: `early`, before any task is made, `late`, after all of them."""

app = Celery("installed", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue="installed",
    task_queues=[
        Queue("installed"),
        Queue(
            "topical", Exchange("topical", type="topic"), routing_key="topical.#", max_priority=9
        ),
    ],
    task_routes={"installed.topical": {"queue": "topical", "routing_key": "topical.in"}},
    broker_connection_retry_on_startup=True,
)
app.conf.update(json.loads(os.environ.get("SETTINGS", "{}")))
if prefix := os.environ.get("KEYPREFIX"):
    app.conf.result_backend_transport_options = {"global_keyprefix": prefix}
if INSTALL == "early":
    penstock.install(app)


def note(line: str) -> None:
    """Write down that a task ran."""
    with Path(os.environ["RUNS_FILE"]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@app.task(name="installed.add")
def add(x: int, y: int = 1) -> int:
    """Add two integers."""
    note("add")
    return x + y


@app.task(name="installed.report", bind=True)
def report(self, how_many: int):
    """Report progress, as a function."""
    for number in range(how_many):
        penstock.progress(number + 1, how_many, "on the way")
    penstock.log("done")
    return self.request.id


@shared_task(name="installed.report_async")
async def report_async(how_many: int):
    """Report progress, as a coroutine."""
    await asyncio.sleep(0)
    for number in range(how_many):
        await penstock.progress(number + 1, how_many)
    await penstock.log("done")
    return how_many


@app.task(name="installed.silent", ignore_result=True)
def silent() -> str:
    """Leave no result."""
    note("silent")
    return "silent"


@app.task(name="installed.sleep")
def sleep(seconds: float):
    """Hold a slot."""
    note("sleep")
    time.sleep(seconds)


class OddError(Exception):
    """What pickle cannot rebuild."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


@app.task(name="installed.fail")
def fail():
    """Fail with an odd exception."""
    raise OddError("one", "two")


@app.task(name="installed.odd")
def odd(bytes_more: int):
    """Return what stock Celery stores."""
    return [float("nan"), float("inf"), "x" * bytes_more]


@app.task(name="installed.odd_async")
async def odd_async(bytes_more: int):
    """Do so as a coroutine."""
    return [float("nan"), float("inf"), "x" * bytes_more]


@app.task(name="installed.flaky", bind=True, autoretry_for=(ValueError,), default_retry_delay=0)
def flaky(self, times: int):
    """Fail some times before it succeeds."""
    note(f"flaky {self.request.retries}")
    if self.request.retries < times:
        raise ValueError(times)
    return self.request.retries


@app.task(name="installed.topical", bind=True, max_retries=5)
def topical(self):
    """Retry once, behind a topic exchange."""
    note(f"topical {self.request.retries}")
    if not self.request.retries:
        raise self.retry(countdown=0.3)
    return self.request.delivery_info["routing_key"]


@app.task(name="installed.errback")
def errback(request, exc, traceback):
    """Be called as Celery calls errbacks of three parameters."""
    note(f"errback {request.id}")
    return str(exc)


class Base(app.Task):
    """A base class of the application's own, made before the line."""

    def on_success(self, retval, task_id, args, kwargs):
        """Celery's hook."""
        note(f"on_success {retval}")


@app.task(name="installed.hooked", base=Base)
def hooked():
    """Have a hook."""
    return "hooked"


if INSTALL == "late":
    assert add.name in app.tasks  # finalised: the tasks are made
    penstock.install(app)
