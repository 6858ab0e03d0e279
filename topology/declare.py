"""The topology as AMQP declarations, with aio-pika."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.abc import AbstractConnection as UnderlayConnection
from aiormq.exceptions import ChannelLockedResource, ChannelPreconditionFailed

from topology.conflicts import read_conflict
from topology.declarations import BindingDeclaration, ExchangeDeclaration, QueueDeclaration
from topology.errors import Conflict, DeclarationConflict
from topology.model import Topology
from topology.plan import declarations

__all__ = ["DeclarationConflict", "declare"]

RPC_TIMEOUT_S = 10.0
"""How long RabbitMQ may take for one declaration; a quorum queue elects a leader meanwhile."""

Declared = TypeVar("Declared", ExchangeDeclaration, QueueDeclaration)


async def declare(connection: AbstractConnection, topology: Topology) -> None:
    """Declare the whole layout; what exists already stays as it is.

    Uses channels of its own, on the connection underneath, so that neither a refused declaration
    nor a reconnect touches the caller's channels.

    Args:
        connection: an open aio-pika connection, robust or plain.
        topology: the layout.

    Raises:
        DeclarationConflict: live exchanges or queues have other arguments; holds all of them. What
            does not conflict is declared; bindings are made only when nothing conflicts.
        ConnectionError: the connection is closed or was lost on the way.
    """
    if connection.transport is None:
        raise ConnectionError("not connected to RabbitMQ")
    underlay = connection.transport.connection
    plan = declarations(topology)
    conflicts = [
        *await _declare_all(underlay, "exchange", plan.exchanges, _declare_exchange),
        *await _declare_all(underlay, "queue", plan.queues, _declare_queue),
    ]
    if conflicts:
        raise DeclarationConflict(conflicts)
    channel = await underlay.channel(publisher_confirms=False)
    try:
        for binding in plan.bindings:
            await _bind(channel, binding)
    finally:
        await _close(channel)


async def _declare_all(
    underlay: UnderlayConnection,
    kind: str,
    wanted: Iterable[Declared],
    declare_one: Callable[[AbstractChannel, Declared], Awaitable[Any]],
) -> list[Conflict]:
    """Declare each on one channel, and on a fresh one after each refusal, which closes it."""
    conflicts: list[Conflict] = []
    channel = await underlay.channel(publisher_confirms=False)
    try:
        for declaration in wanted:
            try:
                await declare_one(channel, declaration)
            except (ChannelPreconditionFailed, ChannelLockedResource) as error:
                conflicts.append(read_conflict(kind, declaration.name, str(error)))
                channel = await underlay.channel(publisher_confirms=False)
    finally:
        await _close(channel)
    return conflicts


async def _declare_exchange(channel: AbstractChannel, exchange: ExchangeDeclaration) -> None:
    await channel.exchange_declare(
        exchange.name,
        exchange_type=exchange.type,
        durable=True,
        arguments=dict(exchange.arguments),
        timeout=RPC_TIMEOUT_S,
    )


async def _declare_queue(channel: AbstractChannel, queue: QueueDeclaration) -> None:
    await channel.queue_declare(
        queue.name, durable=True, arguments=dict(queue.arguments), timeout=RPC_TIMEOUT_S
    )


async def _bind(channel: AbstractChannel, binding: BindingDeclaration) -> None:
    bind = channel.exchange_bind if binding.destination_type == "exchange" else channel.queue_bind
    await partial(bind, binding.destination, binding.source, binding.key)(
        arguments=dict(binding.arguments), timeout=RPC_TIMEOUT_S
    )


async def _close(channel: AbstractChannel) -> None:
    if not channel.is_closed:
        await channel.close()
