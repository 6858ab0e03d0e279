"""The topology as AMQP declarations, with aio-pika."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.abc import AbstractConnection as UnderlayConnection
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelAccessRefused,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from topology.conflicts import read_conflict
from topology.declarations import (
    BindingDeclaration,
    ExchangeDeclaration,
    QueueDeclaration,
    describe,
)
from topology.errors import Conflict, DeclarationConflict, DeclarationError, Shortfall
from topology.model import Topology
from topology.plan import declarations, of_apps

__all__ = [
    "DeclarationConflict",
    "DeclarationError",
    "appeared",
    "declare",
    "probe",
    "unbind",
]

RPC_TIMEOUT_S = 10.0
"""How long RabbitMQ may take for one declaration; a quorum queue elects a leader meanwhile."""


async def declare(connection: AbstractConnection, topology: Topology) -> Shortfall:
    """Declare the whole layout; what exists already stays as it is.

    What the account may not configure is taken as it is, if it is there.

    Uses channels of its own, on the connection underneath, so that neither a refused declaration
    nor a reconnect touches the caller's channels.

    Args:
        connection: an open aio-pika connection, robust or plain.
        topology: the layout.

    Returns:
        What is not there all the same: it cannot be made, or is for an app to make.

    Raises:
        DeclarationConflict: live exchanges or queues have other arguments; holds all of them. What
            does not conflict is declared; bindings are made only when nothing conflicts.
        DeclarationError: RabbitMQ refused for another reason.
        ConnectionError: the connection is closed or was lost on the way.
        TimeoutError: one declaration took longer than ``RPC_TIMEOUT_S``.
    """
    plan = declarations(topology)
    async with _underlay(connection) as underlay:
        exchanges = await _each(underlay, plan.exchanges, _declared)
        queues = await _each(underlay, plan.queues, _declared)
        if exchanges.conflicts or queues.conflicts:
            raise DeclarationConflict(exchanges.conflicts + queues.conflicts)
        apps = await _each(underlay, of_apps(topology).exchanges, _found)
        lacking = {*exchanges.missing, *queues.missing, *apps.missing}
        bindings = [
            binding
            for binding in plan.bindings
            if binding.source not in lacking and binding.destination not in lacking
        ]
        return Shortfall(
            exchanges=tuple(exchanges.missing),
            queues=tuple(queues.missing),
            bindings=tuple(map(describe, await _bind_each(underlay, bindings))),
            apps_exchanges=tuple(apps.missing),
        )


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
    ]
    lacking, plan = {*shortfall.exchanges, *shortfall.queues}, declarations(topology)
    # One of ours: RabbitMQ logs each refusal.
    entities: list[ExchangeDeclaration | QueueDeclaration] = [*plan.exchanges, *plan.queues]
    ours = [one for one in entities if one.name in lacking][:1]
    async with _underlay(connection) as underlay:
        if ours and not (await _each(underlay, ours, _declared)).missing:
            return True
        return len((await _each(underlay, wanted, _found)).missing) < len(wanted)


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
    async with _underlay(connection) as underlay:
        exchanges = await _each(underlay, plan.exchanges, _compared)
        queues = await _each(underlay, plan.queues, _compared)
    missing = [f"exchange {name!r}" for name in exchanges.missing]
    missing += [f"queue {name!r}" for name in queues.missing]
    return missing, exchanges.conflicts + queues.conflicts


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


@dataclass(slots=True)
class _Seen:
    """What became of some declarations."""

    missing: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


_Step = Callable[["_Channels", ExchangeDeclaration | QueueDeclaration], Awaitable[None]]


class _Channels:
    """A channel to declare on, and a fresh one after each refusal, which closes it."""

    def __init__(self, underlay: UnderlayConnection) -> None:
        self._underlay = underlay
        self._channel: AbstractChannel | None = None

    async def get(self) -> AbstractChannel:
        """Return an open channel."""
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._underlay.channel(publisher_confirms=False)
        return self._channel

    async def close(self) -> None:
        """Close it."""
        if self._channel is not None and not self._channel.is_closed:
            await self._channel.close()


async def _declared(
    channels: _Channels, declaration: ExchangeDeclaration | QueueDeclaration
) -> None:
    """Declare it, or find it where the account may not."""
    try:
        await _declare(await channels.get(), declaration)
    except ChannelAccessRefused:
        await _found(channels, declaration)


async def _found(channels: _Channels, declaration: ExchangeDeclaration | QueueDeclaration) -> None:
    """Find it: for that no permission is needed."""
    await _declare(await channels.get(), declaration, passive=True)


async def _compared(
    channels: _Channels, declaration: ExchangeDeclaration | QueueDeclaration
) -> None:
    """Find it and declare it, which changes nothing, to compare it where the account may."""
    await _found(channels, declaration)
    await _declared(channels, declaration)


async def _each(
    underlay: UnderlayConnection,
    wanted: Iterable[ExchangeDeclaration | QueueDeclaration],
    step: _Step,
) -> _Seen:
    """Take each a step, and note which are missing and what differs."""
    seen, channels = _Seen(), _Channels(underlay)
    try:
        for declaration in wanted:
            kind = "exchange" if isinstance(declaration, ExchangeDeclaration) else "queue"
            try:
                await step(channels, declaration)
            except ChannelNotFoundEntity:
                seen.missing.append(declaration.name)
            except (ChannelPreconditionFailed, ChannelLockedResource) as error:
                seen.conflicts.append(read_conflict(kind, declaration.name, str(error)))
            except ChannelClosed as error:
                raise DeclarationError(f"{kind} {declaration.name!r}: {error}") from error
    finally:
        await channels.close()
    return seen


async def _bind_each(
    underlay: UnderlayConnection, bindings: Iterable[BindingDeclaration]
) -> list[BindingDeclaration]:
    """Make each binding; return those that are required and could not be made."""
    refused, channels = [], _Channels(underlay)
    try:
        for binding in bindings:
            try:
                await _bind(await channels.get(), binding)
            except (ChannelAccessRefused, ChannelNotFoundEntity):
                if binding.required:
                    refused.append(binding)
    finally:
        await channels.close()
    return refused


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
