"""Letters on their way back: published by the publisher, confirmed, and only then removed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiormq.abc import DeliveredMessage

from gateway.errors import Problem
from gateway.rabbitmq.faults import broker_calls
from gateway.rabbitmq.letters import UNROUTED, Letter
from gateway.rabbitmq.message import Message
from gateway.rabbitmq.publisher import Publisher
from topology.model import Topology

_TIMEOUT_S: Final = 5.0
_STAYS: Final = {"unroutable": "no queue is bound for it", "queue-full": "the queue is full"}
"""Ends of a publish that concern one letter alone: code → detail."""


@dataclass(slots=True)
class Replay:
    """What one replay did."""

    replayed: list[str] = field(default_factory=list)
    """Ids published again and removed."""
    failed: list[dict[str, str]] = field(default_factory=list)
    """Those that stay, and why."""
    remaining: int = 0
    """Letters in the queue afterwards, the failed ones included."""
    missing: list[str] = field(default_factory=list)
    """Ids asked for that were not found."""


@asynccontextmanager
async def counted(done: Replay) -> AsyncIterator[None]:
    """Turn the end of a replay in the middle into one that says how far it came.

    Raises:
        Problem: `unconfirmed` (queued: unknown); what was raised where nothing was published.
    """
    try:
        yield
    except Problem as problem:
        if not done.replayed and problem.queued == "no":
            raise
        raise Problem(
            "unconfirmed",
            problem.detail,
            queued="unknown",
            members={"replayed": len(done.replayed)},
        ) from problem


async def publish_again(
    publisher: Publisher,
    topology: Topology,
    window: list[tuple[Letter, DeliveredMessage]],
    done: Replay,
) -> None:
    """Publish letters again and remove those that are confirmed.

    Raises:
        Problem: As `Publisher.publish`, when it concerns more than one letter.
    """
    ends = await asyncio.gather(
        *(
            _publish_one(publisher, letter, message, _address(topology, letter), number)
            for number, (letter, message) in enumerate(window)
        ),
        return_exceptions=True,
    )
    ended: list[BaseException] = []
    for (letter, _), end in zip(window, ends, strict=True):
        if end is None:
            done.replayed.append(letter.id)
        elif isinstance(end, Problem) and end.code in _STAYS:
            done.failed.append({"id": letter.id, "detail": _STAYS[end.code]})
        else:
            ended.append(end)
    if ended:  # one that may be queued says more than one that is not
        raise min(ended, key=lambda end: isinstance(end, Problem) and end.queued == "no")


def _address(topology: Topology, letter: Letter) -> tuple[str, str]:
    """Return exchange and routing key that lead a letter to where it died, and nowhere else."""
    if letter.queue == UNROUTED:
        return letter.exchange, letter.routing_key
    return topology.entry(letter.queue, letter.routing_key)


async def _publish_one(
    publisher: Publisher,
    letter: Letter,
    message: DeliveredMessage,
    address: tuple[str, str],
    number: int,
) -> None:
    """Publish a letter and, once confirmed, acknowledge it.

    Raises:
        Problem: As `Publisher.publish`; BrokerAwayError (queued: unknown) when it was
            published, and could not be removed.
    """
    exchange, routing_key = address
    properties = message.header.properties
    again = Message(
        exchange=exchange,
        routing_key=routing_key,
        headers=letter.replay_headers(time.time()),
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        priority=properties.priority,
    )
    base, _, _ = (properties.message_id or letter.id).partition("#")
    # RabbitMQ returns a message by its message id: unique among those in flight.
    message_id = f"{base}#{letter.replays + 1}.{number}"
    async with broker_calls(_TIMEOUT_S, queued="no"):
        await publisher.room(len(message.body))
    await publisher.publish(again, letter.id, message.body, message_id=message_id)
    async with broker_calls(_TIMEOUT_S, queued="unknown"):
        await message.channel.basic_ack(message.delivery_tag or 0)
