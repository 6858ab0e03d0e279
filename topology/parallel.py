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
AT_ONCE = 12
"""Channels: a round trip for so many declarations that each wait for an answer."""
TAKEN_AT_ONCE = 24
"""Declarations on one channel that wait together for one answer."""
FOUND_AT_ONCE = 240
"""The same of questions whether something is there: RabbitMQ answers them from memory."""
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


class Lane:
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


class Lanes:
    """Channels side by side, each opened when it is first needed and used until all is done.

    Args:
        underlay: The connection.
    """

    def __init__(self, underlay: UnderlayConnection) -> None:
        self._underlay = underlay
        self._lanes: list[Lane] = []

    def first(self, count: int) -> list[Lane]:
        """Return so many of them."""
        self._lanes += [Lane(self._underlay) for _ in range(count - len(self._lanes))]
        return self._lanes[:count]

    async def close(self) -> None:
        """Close all."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))


Step = Callable[[Lane, Entity], Awaitable[None]]


async def declared(lane: Lane, declaration: Entity) -> None:
    """Declare it, or find it where the account may not."""
    try:
        await _declare(await lane.get(), declaration)
    except ChannelAccessRefused:
        await found(lane, declaration)


async def found(lane: Lane, declaration: Entity) -> None:
    """Find it: for that no permission is needed."""
    await _declare(await lane.get(), declaration, passive=True)


async def compared(lane: Lane, declaration: Entity) -> None:
    """Find it and declare it, which changes nothing, to compare it where the account may."""
    await found(lane, declaration)
    await declared(lane, declaration)


async def each(lanes: Lanes, wanted: Sequence[Entity], step: Step, at_once: int = AT_ONCE) -> Seen:
    """Take each a step, and note which are missing or away and what differs.

    Args:
        lanes: channels of one connection.
        wanted: what is declared or looked for.
        step: for one of them.
        at_once: how many at a time.

    Raises:
        DeclarationError: RabbitMQ refused one for another reason.
    """
    noted: dict[str, Conflict | str] = {}

    async def note(lane: Lane, declaration: Entity) -> None:
        kind = "exchange" if isinstance(declaration, ExchangeDeclaration) else "queue"
        alone = _on_one_node(declaration)
        name = declaration.name
        try:
            async with asyncio.timeout(ONE_NODE_WITHIN_S if alone else None):
                await step(lane, declaration)
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

    await _side_by_side(lanes, wanted, note, at_once)
    seen = Seen()
    for declaration in wanted:
        what = noted.get(declaration.name)
        if isinstance(what, Conflict):
            seen.conflicts.append(what)
        elif what is not None:
            (seen.away if what == "away" else seen.missing).append(declaration.name)
    return seen


async def find_each(lanes: Lanes, wanted: Sequence[Entity]) -> Seen:
    """Find each; only where one is not there, each waits for an answer of its own.

    So does a queue that is on one node, which may not answer.

    Raises:
        DeclarationError: RabbitMQ refused one for another reason than `Seen` has.
    """
    together = [one for one in wanted if not _on_one_node(one)]
    if not await _taken(lanes, together, passive=True):
        return await each(lanes, wanted, found)
    return await each(lanes, [one for one in wanted if _on_one_node(one)], found)


async def declare_each(lanes: Lanes, wanted: Sequence[Entity]) -> Seen:
    """Declare each; only where RabbitMQ refuses one, each waits for an answer of its own.

    Raises:
        DeclarationError: RabbitMQ refused one for another reason than `Seen` has.
    """
    if await _taken(lanes, wanted):
        return Seen()
    return await each(lanes, wanted, declared)


async def declare_queues(lanes: Lanes, queues: Sequence[Entity]) -> Seen:
    """Declare queues: those that are missing one after the other.

    RabbitMQ makes each leader on the node with the fewest; of queues that are made at a time it
    would make all on one. It also logs each that is looked for in vain: where the last one is
    missing, as all are on a new RabbitMQ, the others are not looked for.
    """
    if (await each(lanes, queues[-1:], found)).missing:
        return await each(lanes, queues, declared, at_once=1)
    there = await find_each(lanes, queues)
    missing = [queue for queue in queues if queue.name in there.missing]
    present = [queue for queue in queues if queue.name not in {*there.missing, *there.away}]
    made = await each(lanes, missing, declared, at_once=1)
    known = await declare_each(lanes, present)
    return Seen(
        missing=made.missing,
        away=there.away + made.away + known.away,
        conflicts=made.conflicts + known.conflicts,
    )


async def bind_each(
    lanes: Lanes, bindings: Sequence[BindingDeclaration]
) -> list[BindingDeclaration]:
    """Make each binding; return those that are required and could not be made."""
    if await _taken(lanes, bindings):
        return []
    refused: list[BindingDeclaration] = []

    async def make(lane: Lane, binding: BindingDeclaration) -> None:
        try:
            await _bind(await lane.get(), binding)
        except (ChannelAccessRefused, ChannelNotFoundEntity) as error:
            if binding.required and not is_away(str(error)):
                refused.append(binding)

    await _side_by_side(lanes, bindings, make)
    return [binding for binding in bindings if binding in refused]


async def unbind_each(
    lanes: Lanes, bindings: Sequence[BindingDeclaration]
) -> list[BindingDeclaration]:
    """Remove each binding, one that is not there too; return those that the account may not."""
    refused: list[BindingDeclaration] = []

    async def remove(lane: Lane, binding: BindingDeclaration) -> None:
        try:
            await _bind(await lane.get(), binding, remove=True)
        except ChannelAccessRefused:
            refused.append(binding)

    await _side_by_side(lanes, bindings, remove)
    return refused


async def _taken(lanes: Lanes, wanted: Sequence[Declaration], *, passive: bool = False) -> bool:
    """Send so many at a time on one channel, wait once for them; return whether all were taken.

    RabbitMQ does in order what comes on a channel, and closes it with the first that it refuses.
    A gateway that starts declares some 200 things, nearly all of them as they are: to answer each
    would cost both more than to look.
    """
    [lane] = lanes.first(1)
    at_once = FOUND_AT_ONCE if passive else TAKEN_AT_ONCE
    try:
        for start in range(0, len(wanted), at_once):
            channel = await lane.get()
            frames = [_without_answer(one, passive) for one in wanted[start : start + at_once]]
            async with asyncio.timeout(RPC_TIMEOUT_S):
                await channel.create_task(_answered(channel, frames))
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


def _on_one_node(declaration: Entity) -> bool:
    return isinstance(declaration, QueueDeclaration) and declaration.on_one_node


def _without_answer(declaration: Declaration, passive: bool) -> FrameType:  # noqa: FBT001
    """Return the method that makes or finds one: RabbitMQ says nothing unless it refuses it."""
    arguments = dict(declaration.arguments)
    match declaration:
        case ExchangeDeclaration(name=name, type=kind):
            return spec.Exchange.Declare(
                exchange=name, exchange_type=kind, passive=passive, durable=True, nowait=True,
                arguments=arguments,
            )  # fmt: skip
        case QueueDeclaration(name=name):
            return spec.Queue.Declare(
                queue=name, passive=passive, durable=True, nowait=True, arguments=arguments
            )
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
    lanes: Lanes,
    wanted: Sequence[One],
    do: Callable[[Lane, One], Awaitable[None]],
    at_once: int = AT_ONCE,
) -> None:
    """Do all of it on so many channels; each takes what is next.

    Raises:
        Exception: the first that one of them raised; what is under way is stopped.
    """
    left = iter(wanted)

    async def work(lane: Lane) -> None:
        for one in left:
            await do(lane, one)

    lent = lanes.first(min(at_once, len(wanted)))
    workers = [asyncio.create_task(work(lane)) for lane in lent]
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
