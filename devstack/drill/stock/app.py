"""The application of stock Celery: `celery -A devstack.drill.stock.app worker`.

Every version runs it, so it needs nothing else. What it executes it writes into a file.
"""
# mypy: disable-error-code="untyped-decorator"

import json
import os
import time
from typing import Any

from celery import Celery

QUEUE = os.environ["STOCK_QUEUE"]

app = Celery(QUEUE, broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue=QUEUE,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_track_started=True,
    worker_prefetch_multiplier=1,
    result_backend_always_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    redis_socket_timeout=5,
    redis_socket_connect_timeout=2,
)


def note(step: str, task_id: str, number: int) -> None:
    """Write down one step: a line goes to its end in one piece."""
    line = json.dumps({"step": step, "task": task_id, "number": number, "at": time.time()})
    handle = os.open(os.environ["RUNS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line.encode() + b"\n")
    finally:
        os.close(handle)


@app.task(name=f"{QUEUE}.tally", bind=True, max_retries=None)
def tally(self: Any, number: int, seconds: float = 0, failures: int = 0) -> int:
    """Take that long, retry that often, and return the number."""
    note("began", self.request.id, number)
    time.sleep(seconds)
    if self.request.retries < failures:
        raise self.retry(countdown=1)
    note("ended", self.request.id, number)
    return number


@app.task(name=f"{QUEUE}.fail", bind=True)
def fail(self: Any, number: int) -> None:
    """Fail."""
    note("began", self.request.id, number)
    note("ended", self.request.id, number)
    raise ValueError(f"number {number}")


@app.task(name=f"{QUEUE}.add")
def add(number: int, more: int) -> int:
    """Add to what the task before it in a chain has given."""
    return number + more
