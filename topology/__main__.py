"""Import, show, check, apply or draw the topology: ``python -m topology --help``."""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError

from penstock import VERSION
from topology import importing, shard_command
from topology.comparison import (
    conflicts,
    foreign,
    misdescribed,
    missing,
    surplus,
    waiting,
)
from topology.connecting import on_any_host
from topology.declarations import describe
from topology.declare import declare, probe, unbind
from topology.errors import Conflict, DeclarationConflict, DeclarationError, TopologyError
from topology.layout import load, load_from_env
from topology.management import ManagementError, fetch
from topology.mermaid import mermaid
from topology.model import Topology
from topology.plan import declarations, of_apps
from topology.settings import Settings, SettingsError, with_devstack
from topology.text import show, summary

SAME, DIFFERENT, FAILED = 0, 1, 2
"""Exit codes: nothing to do, the broker differs from the layout, it could not be found out."""

MIGRATION = """\
RabbitMQ cannot change the arguments of a queue or exchange that exists. To change a queue without
losing a message (here: default):
  1. In the layout rename it, default -> default_2, and keep its bindings as they are.
  2. python -m topology apply --unbind default     declares the new queue, then takes the old one
     off its exchanges. A message published between the two lands in both, and is executed twice.
  3. Restart gateways and workers; keep some workers on the old queue (celery -Q default) until it
     is empty, and until tasks that were delayed to it by name ({"queue": "default"}) have come:
     these go to unrouted.dead, and are told as failed.
  4. Delete default and default.dead in the management pages.
A queue that is empty and has no consumers can be deleted at once, and `apply` makes it anew.
An exchange: the same, with a new name for the exchange in the layout, and no --unbind."""


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "import":
            return importing.run(options)
        topology = load(options.file) if options.file else load_from_env(environment)
        match options.command:
            case "show":
                print(show(topology), end="")
            case "graph":
                print(mermaid(topology), end="")
            case "shard":
                settings = Settings.from_env(environment)
                return asyncio.run(shard_command.run(options.queue, topology, settings, print))
            case "check":
                return asyncio.run(_check(topology, Settings.from_env(environment)))
            case _:
                settings = Settings.from_env(environment)
                return asyncio.run(
                    _apply(topology, settings, old=options.unbind, prune=options.prune)
                )
    except (TopologyError, SettingsError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except (ManagementError, DeclarationError, AMQPError, OSError) as error:
        print(f"topology: {str(error) or type(error).__name__}", file=sys.stderr)
        return FAILED
    return SAME


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m topology",
        description="The RabbitMQ topology: a layout file, and the broker beside it.",
        epilog="Environment: TOPOLOGY_FILE, AMQP_URL, RABBITMQ_MANAGEMENT_URL (each URL also as "
        "…_FILE). Exit codes: 0 same or done, 1 different, 2 could not tell.",
    )
    parser.add_argument("--version", action="version", version=f"penstock {VERSION}")
    parser.add_argument("--file", type=Path, help="layout file, instead of TOPOLOGY_FILE")
    commands = parser.add_subparsers(dest="command", required=True)
    importing.add_command(commands)
    commands.add_parser("show", help="print the layout and what follows from it")
    commands.add_parser("check", help="compare a live broker with the layout; change nothing")
    apply = commands.add_parser("apply", help="declare the layout on the broker")
    apply.add_argument(
        "--unbind",
        metavar="QUEUE",
        help="then take a queue that is no longer in the layout off its exchanges",
    )
    apply.add_argument(
        "--prune",
        action="store_true",
        help="then remove bindings between entities of the layout that the layout does not have",
    )
    shard_command.add_command(commands)
    commands.add_parser("graph", help="draw the layout (Mermaid on standard output)")
    return parser


async def _check(topology: Topology, settings: Settings) -> int:
    plan, apps = declarations(topology), of_apps(topology)
    if settings.management_url is None:
        lacking, differing = await on_any_host(
            settings.amqp_url, lambda connection: probe(connection, topology)
        )
        extra: list[str] = []
        notes = ["bindings and depths were not compared: set RABBITMQ_MANAGEMENT_URL"]
    else:
        live = await asyncio.to_thread(fetch, settings.management_url, settings.vhost)
        lacking, differing = list(missing(plan, live)), list(conflicts(plan, live))
        extra = [describe(binding) for binding in surplus(plan, live)]
        notes = [f"an app is to declare it, and has not: {name}" for name in missing(apps, live)]
        notes += misdescribed(apps, live)
        notes += [f"outside the layout: {name}" for name in foreign(plan, apps, live)]
        notes += [f"{depth} delayed messages in {name}" for name, depth in waiting(live).items()]
    print(f"broker {settings.broker}, layout {topology.source}")
    _print("missing", lacking)
    _print("differs", differing)
    _print("surplus", extra)
    _print("note", notes)
    if not (lacking or differing or extra):
        print("  same as the layout")
        return SAME
    if lacking:
        print("`python -m topology apply` declares what is missing.")
    if extra:
        print("`python -m topology apply --prune` removes what is surplus.")
    if differing:
        print(MIGRATION)
    return DIFFERENT


async def _apply(topology: Topology, settings: Settings, *, old: str | None, prune: bool) -> int:
    if old in topology.queues:
        raise SettingsError(f"--unbind: queue {old!r} is in the layout")
    if (old or prune) and settings.management_url is None:
        raise SettingsError("--unbind and --prune need RABBITMQ_MANAGEMENT_URL to list bindings")
    plan = declarations(topology)

    async def work(connection: AbstractConnection) -> int:
        try:
            shortfall = await declare(connection, topology)
        except DeclarationConflict as error:
            print(f"broker {settings.broker}, layout {topology.source}")
            _print("differs", error.conflicts)
            print(MIGRATION)
            return DIFFERENT
        print(f"declared on {settings.broker}: {summary(plan)}")
        if shortfall:
            print(f"but {shortfall}")
        if settings.management_url and (old or prune):
            live = await asyncio.to_thread(fetch, settings.management_url, settings.vhost)
            removed = [binding for binding in live.bindings if binding.destination == old]
            removed += surplus(plan, live) if prune else ()
            await unbind(connection, removed)
            _print("removed", map(describe, removed))
        return DIFFERENT if shortfall.ours else SAME

    return await on_any_host(settings.amqp_url, work)


def _print(what: str, lines: Iterable[str | Conflict]) -> None:
    for line in lines:
        print(f"  {what:<8} {line}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], with_devstack(os.environ, Path.cwd())))
