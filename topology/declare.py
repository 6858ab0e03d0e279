"""The topology as AMQP declarations, with aio-pika."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractConnection as UnderlayConnection
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelInvalidStateError,
)

from penstock.wire.names import shards_exchange
from topology.declarations import (
    BindingDeclaration,
    Declarations,
    ExchangeDeclaration,
    QueueDeclaration,
    describe,
)
from topology.errors import Conflict, DeclarationConflict, DeclarationError, Shortfall
from topology.model import Topology
from topology.parallel import (
    Lanes,
    bind_each,
    compared,
    declare_each,
    declare_queues,
    declared,
    each,
    find_each,
    found,
    unbind_each,
)
from topology.plan import declarations, of_apps
from topology.sharding import NO_PLUGIN, lacks_plugin

__all__ = [
    "DeclarationConflict",
    "DeclarationError",
    "appeared",
    "declare",
    "probe",
    "still_there",
    "unbind",
]


async def declare(connection: AbstractConnection, topology: Topology) -> Shortfall:
    """Declare the whole layout; what exists already stays as it is.

    What the account may not configure is taken as it is, if it is there. A queue whose node is away
    holds up no other.

    Uses channels of its own, on the connection underneath, so that neither a refused declaration
    nor a reconnect touches the caller's channels.

    Args:
        connection: an open aio-pika connection, robust or plain.
        topology: the layout.

    Returns:
        What is not there all the same: it cannot be made, is for an app to make, or is away.

    Raises:
        DeclarationConflict: live exchanges or queues have other arguments; holds all of them. What
            does not conflict is declared; bindings are made only when nothing conflicts.
        DeclarationError: RabbitMQ refused for another reason.
        ConnectionError: the connection is closed or was lost on the way.
        TimeoutError: one declaration took longer than ``RPC_TIMEOUT_S``.
    """
    plan = declarations(topology)
    async with lanes_of(connection) as lanes:
        exchanges = await declare_each(lanes, plan.exchanges)
        queues = await declare_queues(lanes, plan.queues)
        if exchanges.conflicts or queues.conflicts:
            raise DeclarationConflict(exchanges.conflicts + queues.conflicts)
        apps = await find_each(lanes, of_apps(topology).exchanges)
        lacking = {*exchanges.missing, *queues.missing, *apps.missing, *queues.away}
        bindings = [
            binding
            for binding in plan.bindings
            if binding.source not in lacking and binding.destination not in lacking
        ]
        refused = await bind_each(lanes, [one for one in bindings if not one.spreads])
        refused += await _spread(lanes, plan, bindings, refused)
        return Shortfall(
            exchanges=tuple(exchanges.missing),
            queues=tuple(queues.missing),
            bindings=tuple(map(describe, refused)),
            apps_exchanges=tuple(apps.missing),
            away=tuple(queues.away),
        )


async def _spread(
    lanes: Lanes,
    plan: Declarations,
    bindings: Iterable[BindingDeclaration],
    refused: Iterable[BindingDeclaration],
) -> list[BindingDeclaration]:
    """Take the last steps of a queue to its shards, unless one before was not taken.

    Args:
        lanes: channels of one connection.
        plan: all that is declared.
        bindings: of it, those whose ends are there.
        refused: of these, those that could not be made.

    Returns:
        What could not be made.
    """
    there, stay = {one.source for one in bindings}, {one.destination for one in refused}
    ready = [
        one
        for one in plan.replaced
        if (name := shards_exchange(one.destination)) in there and name not in stay
    ]
    stay |= {shards_exchange(one.destination) for one in await unbind_each(lanes, ready)}
    further = [one for one in bindings if one.spreads]
    held = [one for one in further if one.source in stay]
    return held + await bind_each(lanes, [one for one in further if one not in held])


async def appeared(
    connection: AbstractConnection, topology: Topology, shortfall: Shortfall
) -> bool:
    """Tell whether something is there now that was not, or can be made.

    Args:
        connection: an open aio-pika connection.
        topology: the layout.
        shortfall: from `declare`.

    Raises:
        ConnectionError: the connection is closed or was lost on the way.
        TimeoutError: one answer took longer than ``RPC_TIMEOUT_S``.
    """
    names = shortfall.exchanges + shortfall.apps_exchanges
    wanted: list[ExchangeDeclaration | QueueDeclaration] = [
        *(ExchangeDeclaration(name=name, type="direct") for name in names),
        *(QueueDeclaration(name=name) for name in shortfall.queues),
        *(QueueDeclaration(name=name, arguments=_ONE_NODE) for name in shortfall.away),
    ]
    lacking, plan = {*shortfall.exchanges, *shortfall.queues}, declarations(topology)
    # One of ours: RabbitMQ logs each refusal.
    entities: list[ExchangeDeclaration | QueueDeclaration] = [*plan.exchanges, *plan.queues]
    ours = [one for one in entities if one.name in lacking][:1]
    async with lanes_of(connection) as lanes:
        if ours and not (await each(lanes, ours, declared)).missing:
            return True
        seen = await each(lanes, wanted, found)
    return len(seen.missing) + len(seen.away) < len(wanted)


async def still_there(connection: AbstractConnection, topology: Topology) -> tuple[str, ...] | None:
    """Find every exchange and queue of a layout, by name; change nothing.

    A node answers such questions from what it knows, also while another one has vanished without a
    word: to make a binding, even one that is there, it would wait for that node.

    Args:
        connection: an open aio-pika connection.
        topology: the layout.

    Returns:
        The queues that are there and whose nodes are away; None: something is missing.

    Raises:
        DeclarationError: RabbitMQ refused for another reason.
        ConnectionError: the connection is closed or was lost on the way.
        TimeoutError: one answer took longer than ``RPC_TIMEOUT_S``.
    """
    plan = declarations(topology)
    async with lanes_of(connection) as lanes:
        # RabbitMQ logs each that is looked for in vain: of a new one the others are not.
        if (await each(lanes, plan.queues[-1:], found)).missing:
            return None
        exchanges = await find_each(lanes, [*plan.exchanges, *of_apps(topology).exchanges])
        queues = await find_each(lanes, plan.queues)
    return None if exchanges.missing or queues.missing else tuple(queues.away)


async def probe(
    connection: AbstractConnection, topology: Topology
) -> tuple[list[str], list[Conflict]]:
    """Compare the layout with the broker and change nothing. AMQP cannot list bindings.

    Args:
        connection: an open aio-pika connection.
        topology: the layout.

    Returns:
        What is missing (``queue 'default'``), and what differs: one argument per entity, since
        RabbitMQ names only the first.

    Raises:
        DeclarationError: RabbitMQ refused for another reason.
        ConnectionError: the connection is closed or was lost on the way.
        TimeoutError: one answer took longer than ``RPC_TIMEOUT_S``.
    """
    plan = declarations(topology)
    async with lanes_of(connection) as lanes:
        exchanges = await each(lanes, plan.exchanges, compared)
        queues = await each(lanes, plan.queues, compared)
    missing = [f"exchange {name!r}" for name in exchanges.missing]
    missing += [f"queue {name!r}" for name in queues.missing]
    missing += [f"node of queue {name!r}" for name in queues.away]
    return missing, exchanges.conflicts + queues.conflicts


async def unbind(connection: AbstractConnection, bindings: Iterable[BindingDeclaration]) -> None:
    """Remove bindings; one that is not there is no fault.

    Raises:
        DeclarationError: RabbitMQ refused, for instance for want of permissions.
        ConnectionError: the connection is closed or was lost on the way.
        TimeoutError: one answer took longer than ``RPC_TIMEOUT_S``.
    """
    async with lanes_of(connection) as lanes:
        if refused := await unbind_each(lanes, tuple(bindings)):
            raise DeclarationError(f"this account may not remove {describe(refused[0])}")


_ONE_NODE = {"x-queue-type": "classic"}


@asynccontextmanager
async def lanes_of(connection: AbstractConnection) -> AsyncIterator[Lanes]:
    """Give channels side by side, closed afterwards unless RabbitMQ has fallen silent."""
    async with underlay_of(connection) as underlay:
        lanes = Lanes(underlay)
        try:
            yield lanes
        except DeclarationError:
            await lanes.close()
            raise
        await lanes.close()


@asynccontextmanager
async def underlay_of(connection: AbstractConnection) -> AsyncIterator[UnderlayConnection]:
    """Give aiormq's connection, and let none of aiormq's exceptions out."""
    if connection.transport is None:
        raise ConnectionError("not connected to RabbitMQ")
    try:
        yield connection.transport.connection
    except (AMQPConnectionError, ChannelInvalidStateError) as error:
        if lacks_plugin(str(error)):
            raise DeclarationError(NO_PLUGIN) from error
        raise ConnectionError(f"the connection to RabbitMQ was lost: {error}") from error
    except AMQPError as error:
        raise DeclarationError(str(error)) from error
