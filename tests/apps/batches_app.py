"""An application with a task that gives its pool work of its own, as the package celery-batches."""
# mypy: ignore-errors

import logging
import os
from pathlib import Path

from celery import Celery, Task

import penstock

logger = logging.getLogger(__name__)
app = Celery("batches", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(task_default_queue="batches", broker_connection_retry_on_startup=True)


def apply_batch(task, numbers, loglevel, logfile):
    """Execute a batch, on the pool."""
    task(numbers)


class Batches(Task):
    """A task that is called with what several messages bring."""

    abstract = True

    def Strategy(self, task, app, consumer):  # noqa: N802  # Celery's
        """Gather two messages, and hand them to the pool."""
        gathered = []

        def on_message(message, body, ack, reject, callbacks, **_):
            ack(logger, ())
            gathered.append(message.payload[0][0])
            if len(gathered) == 2:
                numbers, gathered[:] = gathered[:], []
                consumer.pool.apply_async(
                    apply_batch,
                    (task, numbers, 0, None),
                    accept_callback=lambda pid, at: note("accepted"),
                    callback=lambda result: note(f"returned {result}"),
                )

        return on_message


def note(line):
    """Write down what happened."""
    with Path(os.environ["RUNS_FILE"]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@app.task(name="batches.total", base=Batches)
def total(numbers):
    """Add numbers up."""
    note(f"total {sum(numbers)}")


penstock.install(app)
