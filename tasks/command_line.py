"""What of Celery's command line means something else here: one line says so, before anything runs.

Celery processes the options of a command in their order, those of the application last: the checks
see all others, and run before `--detach`, so that `celery multi` shows their words and fails.
"""

from collections.abc import Callable, Iterable
from typing import Any

import click
from celery import Celery

from topology.entities import CALLBACKS_QUEUE
from topology.model import Topology


def explain(app: Celery) -> None:
    """Add the checks to the commands of an application that has a `topology`."""
    app.user_options["worker"].add(_check("--check-worker", lambda given: _worker(app, given)))
    app.user_options["beat"].add(_check("--check-beat", lambda given: _beat(app, given)))


def unknown_queue(topology: Topology, queue: str) -> str | None:
    """Return why no worker can consume a queue, and what to do; None: it can.

    Args:
        topology: the layout.
        queue: its name.
    """
    if queue == CALLBACKS_QUEUE:
        return f"queue {queue!r} is consumed by the gateway, which POSTs to callback URLs"
    if queue in topology.queues:
        return None
    known = ", ".join(name for name in topology.queues if name != CALLBACKS_QUEUE)
    return (
        f"queue {queue!r} is not in the layout {topology.source}, which has {known}. "
        f"Add [queues.{queue}] with its binding, and a route for its tasks (TOPOLOGY_FILE names "
        "the file), run `python -m topology apply`, and restart the gateway and the workers."
    )


def _worker(app: Celery, given: dict[str, Any]) -> None:
    for queue in _names(given.get("queues")) + _names(given.get("exclude_queues")):
        fault = unknown_queue(app.topology, queue)
        if fault is not None:
            raise click.ClickException(fault)
    _beat(app, {"schedule": given.get("schedule_filename")})


def _beat(app: Celery, given: dict[str, Any]) -> None:
    if given.get("schedule") not in (None, app.conf.beat_schedule_filename):
        click.echo(
            f"-s {given['schedule']} is not used: schedules live in Redis (REDIS_URL), where "
            "beats take turns; see them at GET /v1/schedules.",
            err=True,
        )


def _names(given: Iterable[str] | str | None) -> list[str]:
    names = given.split(",") if isinstance(given, str) else given or ()
    return [name.strip() for name in names]


def _check(name: str, check: Callable[[dict[str, Any]], None]) -> click.Option:
    def callback(context: click.Context, _: click.Parameter, value: object) -> object:
        check(context.params)
        return value

    return click.Option([name], hidden=True, is_flag=True, expose_value=False, callback=callback)
