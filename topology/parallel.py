"""Many declarations with aiormq at a time, each with its own answer, on channels side by side."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from aiormq import spec
from aiormq.abc import AbstractChannel, ChannelFrame, FrameType
from aiormq.abc import AbstractConnection as UnderlayConnection
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from penstock.wire.refusals import ONE_NODE_WITHIN_S, is_away
from topology.conflicts import read_conflict
from topology.declarations import (
    BindingDeclaration,
    Declaration,
    ExchangeDeclaration,
    QueueDeclaration,
)
from topology.errors import Conflict, DeclarationError

RPC_TIMEOUT_S = 10.0
"""How long RabbitMQ may take for one declaration; a quorum queue elects a leader meanwhile."""
AT_ONCE = 24
"""Channels: a round trip for so many declarations."""
_numbers = itertools.cycle(range(100, 2000))
"""Of channels, each once on a connection. aiormq leaves out its answer to a channel that RabbitMQ
closes while much is written, and the number stays taken; RabbitMQ allows 2,047."""

Entity = ExchangeDeclaration | QueueDeclaration
One = TypeVar("One")


@dataclass(slots=True)
class Seen:
    """What became of some declarations, in their order."""

    missing: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    """There, on a node that is down or does not answer."""
    conflicts: list[Conflict] = field(default_factory=list)


class Channels:
    """A channel to declare on, and a fresh one after each refusal, which closes it."""

    def __init__(self, underlay: UnderlayConnection) -> None:
        self._underlay = underlay
        self._channel: AbstractChannel | None = None

    async def get(self) -> AbstractChannel:
        """Return an open channel."""
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._underlay.channel(
                channel_number=next(_numbers), publisher_confirms=False
            )
        return self._channel

    async def close(self) -> None:
        """Close it."""
        if self._channel is not None and not self._channel.is_closed:
            await self._channel.close()


Step = Callable[[Channels, Entity], Awaitable[None]]


async def declared(channels: Channels, declaration: Entity) -> None:
    """Declare it, or find it where the account may not."""
    try:
        await _declare(await channels.get(), declaration)
    except ChannelAccessRefused:
        await found(channels, declaration)


async def found(channels: Channels, declaration: Entity) -> None:
    """Find it: for that no permission is needed."""
    await _declare(await channels.get(), declaration, passive=True)


async def compared(channels: Channels, declaration: Entity) -> None:
    """Find it and declare it, which changes nothing, to compare it where the account may."""
    await found(channels, declaration)
    await declared(channels, declaration)


async def each(
    underlay: UnderlayConnection, wanted: Sequence[Entity], step: Step, at_once: int = AT_ONCE
) -> Seen:
    """Take each a step, and note which are missing or away and what differs.

    Args:
        underlay: the connection.
        wanted: what is declared or looked for.
        step: for one of them.
        at_once: how many at a time.

    Raises:
        DeclarationError: RabbitMQ refused one for another reason.
    """
    noted: dict[str, Conflict | str] = {}

    async def note(channels: Channels, declaration: Entity) -> None:
        kind = "exchange" if isinstance(declaration, ExchangeDeclaration) else "queue"
        alone = isinstance(declaration, QueueDeclaration) and declaration.on_one_node
        name = declaration.name
        try:
            async with asyncio.timeout(ONE_NODE_WITHIN_S if alone else None):
                await step(channels, declaration)
        except ChannelNotFoundEntity as error:
            noted[name] = "away" if is_away(str(error)) else "missing"
        except (ChannelPreconditionFailed, ChannelLockedResource) as error:
            noted[name] = read_conflict(kind, name, str(error))
        except ChannelClosed as error:
            raise DeclarationError(f"{kind} {name!r}: {error}") from error
        except TimeoutError:
            if not alone:
                raise
            noted[name] = "away"

    await _side_by_side(underlay, wanted, note, at_once)
    seen = Seen()
    for declaration in wanted:
        what = noted.get(declaration.name)
        if isinstance(what, Conflict):
            seen.conflicts.append(what)
        elif what is not None:
            (seen.away if what == "away" else seen.missing).append(declaration.name)
    return seen


async def declare_each(underlay: UnderlayConnection, wanted: Sequence[Entity]) -> Seen:
    """Declare each; only where RabbitMQ refuses one, each waits for an answer of its own.

    Raises:
        DeclarationError: RabbitMQ refused one for another reason than `Seen` has.
    """
    if await _taken(underlay, wanted):
        return Seen()
    return await each(underlay, wanted, declared)


async def declare_queues(underlay: UnderlayConnection, queues: Sequence[Entity]) -> Seen:
    """Declare queues: those that are missing one after the other.

    RabbitMQ makes each leader on the node with the fewest; of queues that are made at a time it
    would make all on one. It also logs each that is looked for in vain: where the last one is
    missing, as all are on a new RabbitMQ, the others are not looked for.
    """
    if (await each(underlay, queues[-1:], found)).missing:
        return await each(underlay, queues, declared, at_once=1)
    there = await each(underlay, queues, found)
    missing = [queue for queue in queues if queue.name in there.missing]
    present = [queue for queue in queues if queue.name not in {*there.missing, *there.away}]
    made = await each(underlay, missing, declared, at_once=1)
    known = await declare_each(underlay, present)
    return Seen(
        missing=made.missing,
        away=there.away + made.away + known.away,
        conflicts=made.conflicts + known.conflicts,
    )


async def bind_each(
    underlay: UnderlayConnection, bindings: Sequence[BindingDeclaration]
) -> list[BindingDeclaration]:
    """Make each binding; return those that are required and could not be made."""
    if await _taken(underlay, bindings):
        return []
    refused: list[BindingDeclaration] = []

    async def make(channels: Channels, binding: BindingDeclaration) -> None:
        try:
            await _bind(await channels.get(), binding)
        except (ChannelAccessRefused, ChannelNotFoundEntity) as error:
            if binding.required and not is_away(str(error)):
                refused.append(binding)

    await _side_by_side(underlay, bindings, make)
    return [binding for binding in bindings if binding in refused]


async def unbind_each(
    underlay: UnderlayConnection, bindings: Sequence[BindingDeclaration]
) -> list[BindingDeclaration]:
    """Remove each binding, one that is not there too; return those that the account may not."""
    refused: list[BindingDeclaration] = []

    async def remove(channels: Channels, binding: BindingDeclaration) -> None:
        try:
            await _bind(await channels.get(), binding, remove=True)
        except ChannelAccessRefused:
            refused.append(binding)

    await _side_by_side(underlay, bindings, remove)
    return refused


async def _taken(underlay: UnderlayConnection, wanted: Sequence[Declaration]) -> bool:
    """Send so many at a time on one channel, wait once for them; return whether all were taken.

    RabbitMQ does in order what comes on a channel, and closes it with the first that it refuses.
    A gateway that starts declares some 200 things, nearly all of them as they are: to answer each
    would cost both more than to look.
    """
    channels = Channels(underlay)
    try:
        for start in range(0, len(wanted), AT_ONCE):
            channel = await channels.get()
            frames = [_without_answer(one) for one in wanted[start : start + AT_ONCE]]
            async with asyncio.timeout(RPC_TIMEOUT_S):
                await channel.create_task(_answered(channel, frames))
        await channels.close()
    except (ChannelClosed, ChannelInvalidStateError):
        return False
    return True


async def _answered(channel: Any, frames: Sequence[FrameType]) -> None:
    """Send frames with one more that has an answer, and wait for it, as `aiormq.Channel.rpc` does.

    In one piece: on a channel that is closed meanwhile, a later frame would end the connection.
    """
    async with channel.lock:
        last = spec.Basic.Qos()
        await channel.write_queue.put(ChannelFrame.marshall(channel.number, [*frames, last]))
        await channel.rpc_frames.get()
        channel.rpc_frames.task_done()


def _without_answer(declaration: Declaration) -> FrameType:
    """Return the method that makes one, of which RabbitMQ says nothing unless it refuses it."""
    arguments = dict(declaration.arguments)
    match declaration:
        case ExchangeDeclaration(name=name, type=kind):
            return spec.Exchange.Declare(
                exchange=name, exchange_type=kind, durable=True, nowait=True, arguments=arguments
            )
        case QueueDeclaration(name=name):
            return spec.Queue.Declare(queue=name, durable=True, nowait=True, arguments=arguments)
        case BindingDeclaration(source=source, destination=destination, key=key):
            if declaration.destination_type == "exchange":
                return spec.Exchange.Bind(
                    destination=destination, source=source, routing_key=key, nowait=True,
                    arguments=arguments,
                )  # fmt: skip
            return spec.Queue.Bind(
                queue=destination, exchange=source, routing_key=key, nowait=True,
                arguments=arguments,
            )  # fmt: skip


async def _side_by_side(
    underlay: UnderlayConnection,
    wanted: Sequence[One],
    do: Callable[[Channels, One], Awaitable[None]],
    at_once: int = AT_ONCE,
) -> None:
    """Do all of it on so many channels; each takes what is next.

    Raises:
        Exception: the first that one of them raised; what is under way is stopped.
    """
    left = iter(wanted)

    async def work() -> None:
        channels = Channels(underlay)
        for one in left:
            await do(channels, one)
        await channels.close()

    workers = [asyncio.create_task(work()) for _ in range(min(at_once, len(wanted)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _declare(channel: AbstractChannel, declaration: Entity, *, passive: bool = False) -> None:
    declare: Callable[..., Awaitable[Any]] = channel.queue_declare
    if isinstance(declaration, ExchangeDeclaration):
        declare = partial(channel.exchange_declare, exchange_type=declaration.type)
    await declare(
        declaration.name,
        passive=passive,
        durable=True,
        arguments=dict(declaration.arguments),
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
