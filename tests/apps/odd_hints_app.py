"""An application with tasks whose hints and docstrings JSON cannot hold."""
# mypy: ignore-errors

import enum
import os
from typing import Literal

from celery import Celery

import penstock

app = Celery("odd", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(task_default_queue="odd", broker_connection_retry_on_startup=True)


class Colour(enum.Enum):
    """What a text in JSON is not."""

    RED = "red"


@app.task(name="odd.choose")
def choose(colour: Literal[Colour.RED], how: Literal["fast", 1] = "fast"):
    """Choose."""


@app.task(name="odd.plain")
def plain(x: int):
    """Be plain."""


def lazy(x: int):
    return x


lazy.__doc__ = 5  # a translation that is not made yet is no text either
app.task(name="odd.lazy")(lazy)

if os.environ.get("INSTALL"):
    penstock.install(app)
