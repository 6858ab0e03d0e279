"""An application whose tasks share what takes a while to make."""
# mypy: ignore-errors

import os
import time
from pathlib import Path

from celery import Celery

import penstock

app = Celery("resources", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(task_default_queue="resources", broker_connection_retry_on_startup=True)


def note(line):
    """Write down what happened."""
    with Path(os.environ["RUNS_FILE"]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def make():
    """Take a while."""
    note("making")
    time.sleep(2)
    note("made")
    return "made"


@app.task(name="resources.use")
async def use(context: penstock.TaskContext):
    """Use them."""
    note("used")
    return context.resources


penstock.install(app, resources=make)
