"""What of Celery's command line means something else here: one line says so, before anything runs.

Celery processes the options of a command in their order, those of the application last: the checks
see all others, and run before `--detach`, so that `celery multi` shows their words and fails.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import click
from celery import Celery
from celery.app.control import Control as CeleryControl

from penstock.wire.names import CALLBACKS_QUEUE
from topology.kombu_queues import declare
from topology.model import Topology

_NO_FILE = (
    "-s {} is not used: schedules live in Redis (REDIS_URL), where beats take turns; see them at "
    "GET /v1/schedules."
)
_PURGED = "The tasks of purged messages stay PENDING: Celery's purge records no end."
_GREEN_POOLS = ("gevent", "eventlet")
_NO_GREEN_THREADS = (
    "-P {} does not work here: coroutine tasks run on asyncio, which its patches break. "
    "-P threads runs as many tasks that wait."
)


def explain(app: Celery) -> None:
    """Add the checks to every command of an application that has a `topology`."""

    def check(context: click.Context, _: click.Parameter, value: object) -> object:
        given = context.params
        for queue in _queues(context.command.name, given):
            if (fault := unknown_queue(app.topology, queue)) is not None:
                raise click.ClickException(fault)
        pool = getattr(given.get("pool_cls"), "__module__", "").rpartition(".")[2]
        if pool in _GREEN_POOLS:
            raise click.ClickException(_NO_GREEN_THREADS.format(pool))
        if context.command.name == "purge" or given.get("purge"):
            click.echo(_PURGED, err=True)
        file = given.get("schedule") or given.get("schedule_filename")
        if file not in (None, app.conf.beat_schedule_filename):
            click.echo(_NO_FILE.format(file), err=True)
        return value

    # A hidden option: Celery offers no other place in front of a command.
    app.user_options["preload"].add(
        click.Option(["--here"], hidden=True, is_flag=True, expose_value=False, callback=check)
    )


class Control(CeleryControl):  # type: ignore[misc]  # Celery has no types
    """Celery's client of remote control, which can purge what was never declared."""

    def purge(self, connection: Any = None) -> int:
        """Discard the messages of every work queue; on a new broker there are none."""
        with self.app.connection_or_acquire(connection) as established:
            declare(established, self.app.topology)
            return int(super().purge(established))

    discard_all = purge


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


def unrouted(topology: Topology, tasks: Iterable[str]) -> str | None:
    """Return which of a worker's tasks no client can submit, and what to do; None: there is none.

    Args:
        topology: the layout.
        tasks: names; Celery's own are left out.
    """
    names = [n for n in sorted(tasks) if not n.startswith("celery.") and topology.route(n) is None]
    if not names:
        return None
    return (
        f"no route of the layout {topology.source} names {', '.join(names)}: the gateway answers "
        "404 unknown-task, and Celery's .delay() takes the default queue. Add [[routes]] "
        "(TOPOLOGY_FILE names the file), and restart the gateway and the workers."
    )


def _queues(command: str | None, given: Mapping[str, Any]) -> list[str]:
    """Return the queues that a command names, unless it also is for queues outside the layout."""
    options = {"worker": ("queues", "exclude_queues"), "call": ("queue",)}.get(command or "", ())
    texts = [each for name in options for each in _texts(given.get(name))]
    return [name.strip() for text in texts for name in text.split(",")]


def _texts(given: Iterable[str] | str | None) -> Iterable[str]:
    return (given,) if isinstance(given, str) else given or ()
