"""A queue that is filled, and emptied by one worker: rates, and what was executed."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aio_pika
import orjson
import redis.asyncio
from aio_pika.abc import AbstractConnection

from bench import programs, table
from bench.apps.filler import new_prefix
from bench.figures import Figure
from bench.pools import Pool, working
from bench.report import Context
from bench.servers import QUEUE, Servers
from bench.usage import cpu_s
from devstack.errors import StartError
from penstock.wire.keys import RECORD_PREFIX

Tasks = Sequence[Mapping[str, Any]]
"""What a queue is filled with, in turn: `{"task": …, "args": […]}`."""

_POLL_S = 0.01
_WARM_AT = 0.9
"""Figures are of the last so much of the queue: the worker is warm then."""
_ENDS_WITHIN_S = 120.0
_KEYS_AT_ONCE = 5_000
_PAUSE = 4
"""Between two looks at all records, times what a look takes."""
_FINAL = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One worker in one round."""

    rate: float
    """Tasks a second."""
    cpu_us: float
    """Processor time of the worker's processes for each task."""


Samples = Mapping[str, Sequence[Sample]]
"""By the name of the pool, a round each."""


async def in_turns(
    context: Context, pools: Sequence[Pool], run: Callable[[Pool], Awaitable[Sample]]
) -> Samples:
    """Measure each worker once a round, another one first each time.

    Raises:
        StartError: Something failed.
    """
    samples: dict[str, list[Sample]] = {pool.name: [] for pool in pools}
    rounds = context.plan.rounds
    for number in range(rounds):
        shift = number % len(pools)
        for pool in (*pools[shift:], *pools[:shift]):
            one = await run(pool)
            samples[pool.name].append(one)
            context.tell(
                f"workers {number + 1}/{rounds}  {pool.title:<64}"
                f"{one.rate:>7,.0f}/s {one.cpu_us:>7,.0f} µs"
            )
    return samples


def told(what: str, pools: Sequence[Pool], samples: Samples) -> str:
    """A line for each worker, for a terminal."""
    return table.rows(
        (f"worker, {what}", "tasks/s", "CPU µs/task"),
        [
            (
                pool.title,
                Figure.of(one.rate for one in samples[pool.name]).told(),
                Figure.of(one.cpu_us for one in samples[pool.name]).told(),
            )
            for pool in pools
        ],
    )


async def fill(
    servers: Servers, tasks: Tasks, count: int, *, prefix: str = ""
) -> Mapping[str, float]:
    """Put that many messages into the queue; what the filler printed.

    Raises:
        StartError: It failed, or RabbitMQ refused some.
    """
    file = servers.folder / "tasks.json"
    file.write_text(json.dumps(tasks))
    told: dict[str, float] = await programs.run(
        "bench.apps.filler", QUEUE, count, file, prefix or new_prefix(), env=servers.env
    )
    if told["confirmed"] != count:
        raise StartError(f"RabbitMQ took {told['confirmed']} of {count} messages")
    return told


async def drained(
    servers: Servers, pool: Pool, tasks: Tasks, env: Mapping[str, str] | None = None
) -> Sample:
    """Fill the queue, start the worker, time the last nine tenths, and check what was executed.

    Both ends of the time are moments of full work: what the worker holds unacknowledged at its
    beginning and at its end cancels out.

    Args:
        servers: What the worker talks to.
        pool: How it is started.
        tasks: What it executes.
        env: Other addresses of the servers, for the worker.

    Raises:
        StartError: The worker failed, or did not end every task.
    """
    await fill(servers, tasks, pool.tasks)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await aio_pika.connect(servers.rabbit.url))
        depth = await _depth(connection)
        worker = await stack.enter_async_context(working(servers, pool, env))
        waiting = await _until(depth, int(pool.tasks * _WARM_AT))
        began, before = time.monotonic(), cpu_s(worker.child.pid)
        await _until(depth, 0)
        elapsed, used = time.monotonic() - began, cpu_s(worker.child.pid) - before
        await ended(servers, {"SUCCESS": pool.tasks})
    await forget(servers)
    return Sample(rate=waiting / elapsed, cpu_us=used * 1e6 / waiting)


async def ended(
    servers: Servers, expected: Mapping[str, int], timeout_s: float = _ENDS_WITHIN_S
) -> None:
    """Wait until Redis has so many records of each final state.

    Raises:
        StartError: It has others after that time.
    """
    deadline = time.monotonic() + timeout_s
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        while True:
            began = time.monotonic()
            found = await states(client)
            if found == expected:
                return
            if time.monotonic() > deadline:
                raise StartError(f"tasks ended as {found}, not as {expected}")
            # The processors are for what is measured.
            await asyncio.sleep(max(0.1, _PAUSE * (time.monotonic() - began)))


async def emptied(servers: Servers, most: int = 0) -> None:
    """Wait until no more messages are ready in the queue.

    Raises:
        StartError: It takes too long.
    """
    async with await aio_pika.connect(servers.rabbit.url) as connection:
        await _until(await _depth(connection), most)


async def records(client: "redis.asyncio.Redis") -> list[dict[str, Any]]:
    """Every task's record."""
    keys = [
        key
        async for key in client.scan_iter(match=f"{RECORD_PREFIX}*", count=_KEYS_AT_ONCE)
    ]  # fmt: skip
    found = []
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        values = await client.mget(keys[start : start + _KEYS_AT_ONCE])
        found += [orjson.loads(value) for value in values if value is not None]
    return found


async def states(client: "redis.asyncio.Redis") -> dict[str, int]:
    """How many tasks have each final state."""
    counts = Counter(record["status"] for record in await records(client))
    return {state: count for state, count in counts.items() if state in _FINAL}


async def forget(servers: Servers) -> None:
    """Remove everything from Redis."""
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        await client.flushall()


async def _depth(connection: AbstractConnection) -> Callable[[], Awaitable[int]]:
    """Make a cheap look at how many messages are ready."""
    channel = await connection.channel()

    async def depth() -> int:
        queue = await channel.declare_queue(QUEUE, passive=True)
        return queue.declaration_result.message_count or 0

    return depth


async def _until(look: Callable[[], Awaitable[int]], most: int) -> int:
    """Wait until it is no more than that; what it is.

    Raises:
        StartError: It takes too long.
    """
    deadline = time.monotonic() + _ENDS_WITHIN_S
    while (seen := await look()) > most:
        if time.monotonic() > deadline:
            raise StartError(f"{seen} messages are still waiting")
        await asyncio.sleep(_POLL_S)
    return seen
