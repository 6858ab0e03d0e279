"""An application of stock Celery that has something of everything, for `penstock describe`."""
# mypy: ignore-errors
# Written as users of Python 3.8 write.

import asyncio
import functools
from datetime import date, datetime
from typing import Dict, List, Optional  # noqa: UP035  # Python 3.8

from celery import Celery, shared_task
from celery.schedules import crontab
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast

app = Celery(
    "shop",
    broker="memory://guest:pass-word-1@localhost/shop",
    backend="redis://:pass-word-2@localhost:6379/3?password=pass-word-3&timeout=5",
)
FEED = Exchange("feed", type="topic")
app.conf.task_queues = [
    Queue("shop"),
    Queue("feed", FEED, routing_key="feed.#", max_priority=10),
    Queue("lead", Exchange("lead"), "lead.in", queue_arguments={"x-queue-type": "quorum"}),
    Queue("mixed", FEED, "mixed", bindings=[binding(FEED, "b.#"), binding(FEED, "a.#")]),
    Broadcast("everyone"),
]  # fmt: skip


class Undecided:
    """A router that is an object."""

    def route_for_task(self, task: str, *_: object, **__: object) -> None:
        """Leave the task to others."""


app.conf.update(
    task_default_queue="shop",
    task_routes=(
        {
            "shop.feed.*": {"queue": "feed", "routing_key": "feed.in"},
            "shop.plain_feed": {"queue": "feed"},
            "shop.lead": {"queue": "lead"},
            "shop.lead_keyed": {"queue": "lead", "routing_key": "lead.other"},
            "shop.direct": {"exchange": "lead", "routing_key": "lead.in", "priority": 5},
            "shop.new": {"queue": "made.up", "priority": 3},
        },
        "tests.apps.described_app.route",
        Undecided(),
    ),
    timezone="Europe/Oslo",
    result_backend_transport_options={"global_keyprefix": "acme"},
    beat_schedule={
        "often": {"task": "shop.add", "schedule": 10.0, "args": (1, 2)},
        "nightly": {
            "task": "shop.add",
            "schedule": crontab(minute="*/5", hour=3),
            "kwargs": {"x": 1, "api_key": "pass-word-4"},
            "options": {"expires": 5},
        },
    },
)
print("an application may print")  # noqa: T201


def route(name, args, kwargs, options, task=None, **more):
    """A router as a function."""
    return {"queue": "routed"} if name == "shop.routed" else None


def session(function):
    """Give a session, which callers do not."""

    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function("session", *args, **kwargs)

    return inner


@app.on_after_configure.connect
def periodic(sender, **_):
    """Celery's other way to say what is periodic."""
    sender.add_periodic_task(30, add.s(3), name="added")


@app.task(name="shop.add", ignore_result=True, time_limit=30)
def add(x: int, y: int = None, token: str = "pass-word-5"):  # noqa: RUF013
    """Add two integers."""
    return x


@app.task(name="shop.feed.take", bind=True, autoretry_for=(ValueError,))
def take(self, items: List[int], opts: Optional[Dict[str, float]] = None) -> str:  # noqa: UP006, UP045
    """Take some."""


@app.task(name="shop.sessioned")
@session
def sessioned(session, x: int):
    """Be given a session."""


class Abstract(app.Task):
    """What reports share; no task."""

    abstract = True
    expires = 300


class Report(Abstract):
    """Report a day."""

    name = "shop.report"

    def run(self, day: "str", *, flag: bool = False):
        return day


app.register_task(Report())


def bridged(function):
    """Run a coroutine function as a function."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        return asyncio.run(function(*args, **kwargs))

    return run


@app.task(name="shop.bridged", autoretry_for=(ValueError,))
@bridged
async def in_bridge(x: int):
    """Run on an event loop of its own."""


@app.task(name="shop.retried", autoretry_for=(ValueError,))
async def retried(x: int):
    """Be tried again."""


@shared_task(name="shop.coroutine")
async def coroutine(first: "NoSuchName", *rest: int, **more):  # noqa: F821
    """Be shared."""


@app.task(name="shop.when")
def when(at: datetime, days: Optional[List[date]] = None):  # noqa: UP006, UP045
    """Take what JSON has no word for."""


def anything(*values: object) -> None:
    """Take anything."""


for name in ("plain_feed", "lead", "lead_keyed", "direct", "new", "routed"):
    app.task(name="shop." + name)(anything)
