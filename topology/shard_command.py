"""`python -m topology shard QUEUE`: as many shards as the layout says, on a broker that has others.

More shards are made by whoever declares the layout. Fewer, or none, leave shards behind:

    1. unbind them from the exchange: nothing more arrives there
    2. declare the layout, which binds the queue itself where it has no shards any more
    3. unbind the exchange then: the queue is reached either way meanwhile, and each message once
    4. publish what waits in them again, and remove it there when that is confirmed
    5. delete them, once no worker consumes them and none has a message of theirs

Each step can be done again, and the command run again after any of them.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from aio_pika.abc import AbstractConnection

from penstock.wire.names import MOST_SHARDS, shard_names, shards_exchange
from topology.connecting import on_any_host
from topology.declarations import BindingDeclaration, describe
from topology.declare import declare, unbind
from topology.management import Live, fetch
from topology.model import Topology
from topology.moving import counted, delete_exchange, delete_queue, move
from topology.settings import Settings, SettingsError

Say = Callable[[str], None]

SAMPLED_S = 6.0
"""How old RabbitMQ's count of the messages that workers have may be."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `python -m topology`."""
    parser = commands.add_parser(
        "shard",
        help="give a queue the shards that the layout says, and remove those that it had before",
        description="Declare the layout; then empty and delete the shards that the queue has on "
        "the broker and not in the layout: what waits in them is published to the queue again. "
        "Needs RABBITMQ_MANAGEMENT_URL. Exit codes: 0 done, 1 something remains: run it again, "
        "2 refused, or could not tell.",
    )
    parser.add_argument("queue", metavar="QUEUE", help="its name in the layout")


async def run(name: str, topology: Topology, settings: Settings, say: Say) -> int:
    """Run the command and return its exit code.

    Args:
        name: of the queue.
        topology: the layout.
        settings: the broker.
        say: prints a line.

    Raises:
        SettingsError: the queue can have no shards, or the management API is not known.
        DeclarationError: RabbitMQ refuses the layout; nothing was moved.
        ManagementError, OSError: a server is away; run it again.
    """
    queue = topology.queues.get(name)
    if queue is None:
        raise SettingsError(f"shard: queue {name!r} is not in the layout {topology.source}")
    if not queue.ours:
        raise SettingsError(f"shard: queue {name!r} is an app's, which alone declares it")
    url = settings.management_url
    if url is None:
        raise SettingsError("shard needs RABBITMQ_MANAGEMENT_URL to list bindings and queues")

    async def listing() -> Live:
        return await asyncio.to_thread(fetch, url, settings.vhost)

    async def work(connection: AbstractConnection) -> int:
        live = await listing()
        say(f"broker {settings.broker}, layout {topology.source}")
        former = former_shards(topology, name, live)
        bound = [one for one in live.bindings if one.destination in former]
        await _unbind(connection, bound, say)
        shortfall = await declare(connection, topology)
        if shortfall.ours:
            say(f"  remains  {shortfall}")
            return 1
        if queue.shards is None:
            exchange = shards_exchange(name)
            bound = [one for one in live.bindings if one.destination == exchange]
            await _unbind(connection, bound, say)
        for shard in former:
            if moved := await move(connection, shard, topology, name):
                say(f"  moved    {moved} messages of queue {shard!r}")
        remains = bool(former) and not await _deleted(connection, former, listing, say)
        if queue.shards is None and shards_exchange(name) in live.exchanges:
            now = await listing()
            remains = not await _exchange_deleted(connection, name, now, say) or remains
        for shard in topology.shards(name):
            ready, consumers = await counted(connection, shard)
            say(f"  queue    {shard!r}: {ready} ready, {consumers} consumers")
        return 1 if remains else 0

    return await on_any_host(settings.amqp_url, work)


def former_shards(topology: Topology, name: str, live: Live) -> list[str]:
    """List the shards that a queue has on the broker and not in the layout.

    Args:
        topology: the layout.
        name: of the queue.
        live: the broker.
    """
    return [
        shard
        for shard in shard_names(name, MOST_SHARDS)
        if shard not in topology.shards(name)
        and shard not in topology.queues
        # One that only has such a name was declared otherwise.
        and live.queues.get(shard, {}) == live.queues.get(name)
    ]


async def _unbind(
    connection: AbstractConnection, bindings: Iterable[BindingDeclaration], say: Say
) -> None:
    removed = list(bindings)
    await unbind(connection, removed)
    for binding in removed:
        say(f"  removed  {describe(binding)}")


async def _deleted(
    connection: AbstractConnection,
    former: Sequence[str],
    listing: Callable[[], Awaitable[Live]],
    say: Say,
) -> bool:
    """Delete the shards that are of no use any more; return whether those are all."""
    await asyncio.sleep(SAMPLED_S)
    live = await listing()
    bound = {binding.destination for binding in live.bindings}
    remain = False
    for shard in former:
        ready, consumers = await counted(connection, shard)
        held = live.depths.get(shard, 0)
        if shard in bound:
            why = "a process that has the former layout has bound it again: restart that"
        elif consumers:
            why = f"{consumers} consumers: restart the workers with this layout"
        elif ready or held:
            why = f"{max(ready, held)} messages, ready or with workers that run them"
        else:
            await delete_queue(connection, shard)
            say(f"  deleted  queue {shard!r}")
            continue
        say(f"  remains  queue {shard!r}: {why}")
        remain = True
    return not remain


async def _exchange_deleted(
    connection: AbstractConnection, name: str, live: Live, say: Say
) -> bool:
    """Delete the exchange of the shards unless something leads to it; return whether it is gone."""
    exchange = shards_exchange(name)
    if any(binding.destination == exchange for binding in live.bindings):
        say(f"  remains  exchange {exchange!r}: a process has the former layout: restart that")
        return False
    await delete_exchange(connection, exchange)
    say(f"  deleted  exchange {exchange!r}")
    return True
