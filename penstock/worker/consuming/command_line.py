"""What of Celery's command line means something else here: one line says so, before anything runs.

Celery processes the options of a command in their order, those of the application last: the checks
see all others, and run before `--detach`, so that `celery multi` shows their words and fails.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import click
from celery import Celery

from penstock.worker.celery_versions import EXPLAINED

_NO_FILE = (
    "-s {} is not used: schedules live in Redis (REDIS_URL), where beats take turns; see them at "
    "GET /v1/schedules."
)
_PURGED = "The tasks of purged messages stay PENDING: Celery's purge records no end."
_GREEN_POOLS = ("gevent", "eventlet")
_NO_GREEN_THREADS = (
    "-P {} does not work here: coroutine tasks run on asyncio, which its patches break. "
    "The asyncio pool runs thousands of them: docs/coroutines.md."
)


def explain(app: Celery) -> None:
    """Add the checks to every command of an application that has a `layout`."""

    def check(context: click.Context, _: click.Parameter, value: object) -> object:
        given = context.params
        for queue in _queues(context.command.name, given):
            if (fault := app.layout.queue_fault(queue)) is not None:
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
    here = click.Option(["--here"], hidden=True, is_flag=True, expose_value=False, callback=check)
    for kind in EXPLAINED:
        app.user_options[kind].add(here)


def _queues(command: str | None, given: Mapping[str, Any]) -> list[str]:
    """Return the queues that a command names, unless it also is for queues outside the layout."""
    options = {"worker": ("queues", "exclude_queues"), "call": ("queue",)}.get(command or "", ())
    texts = [each for name in options for each in _texts(given.get(name))]
    return [name.strip() for text in texts for name in text.split(",")]


def _texts(given: Iterable[str] | str | None) -> Iterable[str]:
    return (given,) if isinstance(given, str) else given or ()
