"""The topology as AMQP declarations, with aio-pika."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.abc import AbstractConnection as UnderlayConnection
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from topology.conflicts import read_conflict
from topology.declarations import BindingDeclaration, ExchangeDeclaration, QueueDeclaration
from topology.errors import Conflict, DeclarationConflict, DeclarationError
from topology.model import Topology
from topology.plan import declarations

__all__ = ["DeclarationConflict", "DeclarationError", "declare", "probe", "unbind"]

RPC_TIMEOUT_S = 10.0
"""How long RabbitMQ may take for one declaration; a quorum queue elects a leader meanwhile."""


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
        DeclarationError: RabbitMQ refused for another reason, such as permissions.
        ConnectionError: the connection is closed or was lost on the way.
        TimeoutError: one declaration took longer than ``RPC_TIMEOUT_S``.
    """
    plan = declarations(topology)
    async with _underlay(connection) as underlay:
        _, exchanges = await _each(underlay, plan.exchanges, create=True)
        _, queues = await _each(underlay, plan.queues, create=True)
        if exchanges or queues:
            raise DeclarationConflict(exchanges + queues)
        channel = await underlay.channel(publisher_confirms=False)
        for binding in plan.bindings:
            await _bind(channel, binding)
        await channel.close()


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
        DeclarationError: RabbitMQ refused for another reason, such as permissions.
        ConnectionError: the connection is closed or was lost on the way.
        TimeoutError: one answer took longer than ``RPC_TIMEOUT_S``.
    """
    plan = declarations(topology)
    async with _underlay(connection) as underlay:
        no_exchanges, exchanges = await _each(underlay, plan.exchanges, create=False)
        no_queues, queues = await _each(underlay, plan.queues, create=False)
    return no_exchanges + no_queues, exchanges + queues


async def unbind(connection: AbstractConnection, bindings: Iterable[BindingDeclaration]) -> None:
    """Remove bindings; one that is not there is no fault.

    Raises:
        DeclarationError: RabbitMQ refused, for instance for want of permissions.
        ConnectionError: the connection is closed or was lost on the way.
        TimeoutError: one answer took longer than ``RPC_TIMEOUT_S``.
    """
    async with _underlay(connection) as underlay:
        channel = await underlay.channel(publisher_confirms=False)
        for binding in bindings:
            await _bind(channel, binding, remove=True)
        await channel.close()


@asynccontextmanager
async def _underlay(connection: AbstractConnection) -> AsyncIterator[UnderlayConnection]:
    """Give aiormq's connection, and let none of aiormq's exceptions out."""
    if connection.transport is None:
        raise ConnectionError("not connected to RabbitMQ")
    try:
        yield connection.transport.connection
    except (AMQPConnectionError, ChannelInvalidStateError) as error:
        raise ConnectionError(f"the connection to RabbitMQ was lost: {error}") from error
    except AMQPError as error:
        raise DeclarationError(str(error)) from error


async def _each(
    underlay: UnderlayConnection,
    wanted: Iterable[ExchangeDeclaration | QueueDeclaration],
    *,
    create: bool,
) -> tuple[list[str], list[Conflict]]:
    """Declare each on one channel, and on a fresh one after each refusal, which closes it.

    Without `create`, each is looked up first, and declared for the comparison only when it exists.

    Returns:
        What is missing, and what differs.
    """
    missing: list[str] = []
    conflicts: list[Conflict] = []
    channel = await underlay.channel(publisher_confirms=False)
    try:
        for declaration in wanted:
            kind = "exchange" if isinstance(declaration, ExchangeDeclaration) else "queue"
            try:
                if not create:
                    await _declare(channel, declaration, passive=True)
                await _declare(channel, declaration)
                continue
            except ChannelNotFoundEntity:
                missing.append(f"{kind} {declaration.name!r}")
            except (ChannelPreconditionFailed, ChannelLockedResource) as error:
                conflicts.append(read_conflict(kind, declaration.name, str(error)))
            except ChannelClosed as error:
                raise DeclarationError(f"{kind} {declaration.name!r}: {error}") from error
            channel = await underlay.channel(publisher_confirms=False)
    finally:
        if not channel.is_closed:
            await channel.close()
    return missing, conflicts


async def _declare(
    channel: AbstractChannel,
    declaration: ExchangeDeclaration | QueueDeclaration,
    *,
    passive: bool = False,
) -> None:
    arguments = dict(declaration.arguments)
    if isinstance(declaration, QueueDeclaration):
        await channel.queue_declare(
            declaration.name,
            passive=passive,
            durable=True,
            arguments=arguments,
            timeout=RPC_TIMEOUT_S,
        )
    else:
        await channel.exchange_declare(
            declaration.name,
            exchange_type=declaration.type,
            passive=passive,
            durable=True,
            arguments=arguments,
            timeout=RPC_TIMEOUT_S,
        )


async def _bind(
    channel: AbstractChannel, binding: BindingDeclaration, *, remove: bool = False
) -> None:
    method: Callable[..., Awaitable[Any]]
    if binding.destination_type == "exchange":
        method = channel.exchange_unbind if remove else channel.exchange_bind
    else:
        method = channel.queue_unbind if remove else channel.queue_bind
    await method(
        binding.destination,
        binding.source,
        binding.key,
        arguments=dict(binding.arguments),
        timeout=RPC_TIMEOUT_S,
    )
