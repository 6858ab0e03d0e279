"""A Celery app that knows nothing of this project; `STOCK_CONFIG` is JSON of its settings."""

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.common import Broadcast
from kombu.entity import Exchange, Queue

app = Celery("proj", broker=os.environ.get("AMQP_URL"), backend=os.environ.get("REDIS_URL"))
app.conf.update(
    task_queues=[
        Queue("celery", Exchange("celery"), "celery"),
        Broadcast("all"),
        Queue("feeds", Exchange("feed", "topic"), "feed.#", queue_arguments={"x-max-priority": 10}),
    ],
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    **json.loads(os.environ.get("STOCK_CONFIG", "{}")),
)


def add(x: Any, y: Any = 0) -> Any:
    return x + y


def total(numbers: list[int]) -> int:
    return sum(numbers)


def note(word: str) -> str:
    with Path(os.environ["RUNS_FILE"]).open("a", encoding="utf-8") as file:
        file.write(f"{word}\n")
    return word


def slow(seconds: float) -> None:
    time.sleep(seconds)


def fail(text: str) -> None:
    raise ValueError(text)


def again(self: Any, times: int) -> int:
    if self.request.retries < times:
        raise self.retry(countdown=0)
    return int(self.request.retries)


def look(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return what the message said of itself."""
    request = self.request
    return {
        "args": list(args),
        "kwargs": kwargs,
        "argsrepr": request.argsrepr,
        "kwargsrepr": request.kwargsrepr,
        "reply_to": request.reply_to,
        "priority": request.delivery_info["priority"],
        "routing_key": request.delivery_info["routing_key"],
        "headers": request.headers,
        "expires": request.expires,
        "timelimit": request.timelimit,
    }


def everywhere(word: str) -> None:
    note(word)


for function in (add, total, note, fail, everywhere):
    app.task(function, name=f"proj.{function.__name__}")
app.task(slow, name="proj.slow", track_started=True)
app.task(again, name="proj.again", bind=True, max_retries=3)
app.task(look, name="proj.shown", bind=True)
app.task(look, name="proj.secret", bind=True)
app.task(look, name="proj.ranked", bind=True)
