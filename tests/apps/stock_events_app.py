"""An application of stock Celery, which knows nothing of this project: by events alone."""

import os

from celery import Celery

app = Celery("stock", broker=os.environ["AMQP_URL"])
app.conf.update(task_default_queue="stock", worker_send_task_events=True, task_ignore_result=True)


@app.task(name="stock.add")  # type: ignore[untyped-decorator]
def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


@app.task(name="stock.fail")  # type: ignore[untyped-decorator]
def fail(text: str) -> None:
    """Fail."""
    raise ValueError(text)
