"""The events of a task in Redis: told by its record while they are two, in a stream beyond."""

import json
import random
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.endings.revocation import revoked_record
from gateway.watching.events import decode_event
from penstock.wire.keys import TaskKeys
from penstock.wire.scripts import script
from tests.support import history
from tests.support.worker_states import WorkerStates

ROUNDS = 150
LIMIT_BYTES = 1500
"""Of an ended task that did nothing but start, in Redis."""


class Changes:
    """Every kind of change, as workers and gateways make it."""

    def __init__(self, worker: WorkerStates) -> None:
        self.worker = worker
        self.end = worker.client.register_script(script("task_end").text)
        self.revoke = worker.client.register_script(script("task_revoke").text)

    async def start(self, task_id: str) -> None:
        await self.worker.start(task_id)

    async def start_again(self, task_id: str) -> None:
        await self.worker.start(task_id, redelivered=True)

    async def succeed(self, task_id: str) -> None:
        await self.worker.succeed(task_id, {"started_at": "x", "first": '"first":"1-0"'})

    async def fail(self, task_id: str) -> None:
        await self.worker.fail(task_id)

    async def fail_elsewhere(self, task_id: str) -> None:
        """Prefork's parent does not know when the task started."""
        await WorkerStates(self.worker.client).fail(task_id)

    async def succeed_at_length(self, task_id: str) -> None:
        await self.worker.succeed(task_id, "x" * 100_000)

    async def progress(self, task_id: str) -> None:
        await self.worker.progress(task_id, 3)

    async def log(self, task_id: str) -> None:
        await self.worker.log(task_id, "a line")

    async def retry(self, task_id: str) -> None:
        error = {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}
        await self.worker.store(task_id, "RETRY", error)

    async def own(self, task_id: str) -> None:
        await self.worker.store(task_id, 'MY "STATE", \\', {"depth": 1})

    async def dead_letter(self, task_id: str) -> None:
        keys = TaskKeys.of(task_id)
        await self.end(
            keys=[keys.record, keys.events, keys.ended, keys.copy],
            args=["REVOKED", revoked_record(task_id, "expired"), 3600, ""],
        )

    async def revoked(self, task_id: str) -> None:
        keys = TaskKeys.of(task_id)
        await self.revoke(
            keys=[keys.record, keys.events, keys.ended, keys.revoked],
            args=[revoked_record(task_id, "revoked"), 3600, 3600],
        )


Kind = Callable[[Changes, str], Awaitable[None]]
KINDS: list[Kind] = [
    Changes.start, Changes.start_again, Changes.succeed, Changes.fail, Changes.succeed_at_length,
    Changes.progress, Changes.log, Changes.retry, Changes.own, Changes.dead_letter, Changes.revoked,
    Changes.fail_elsewhere,
]  # fmt: skip
USUAL: list[list[Kind]] = [[Changes.start, end] for end in (Changes.succeed, Changes.fail)]


async def told(
    client: Redis, task_id: str, cursor: str = "0-0"
) -> list[tuple[str, dict[str, Any]]]:
    answer = await client.register_script(history.SNAPSHOT)(**history.question(task_id, cursor))
    assert history.complete(answer)
    return history.events(answer)


def shown(task_id: str, event: bytes, cursor: str | None = None) -> tuple[str | None, bytes]:
    """What a client sees of an event."""
    found = decode_event(task_id, event, None, cursor)
    assert found is not None
    # The short form of a long record is written with a time of its own.
    return found.cursor, re.sub(rb'"finished_at":"[^"]*",', b"", found.message(admin=True))


def _compact(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


async def published(
    client: Redis, task_id: str, make: Callable[[], Awaitable[None]]
) -> list[bytes]:
    """Return the notices that come meanwhile."""
    name, notices = TaskKeys.of(task_id).record, []
    async with client.pubsub() as channel:
        await channel.subscribe(name)
        await channel.get_message(timeout=5)
        await make()
        await client.publish(name, "last")
        while (message := await channel.get_message(timeout=5)) and message["data"] != b"last":
            notices.append(message["data"])
    return notices


async def test_whatever_happens_to_a_task_is_resumed_from_each_of_its_events(issue, worker):
    draw = random.Random(5)
    made = USUAL + [[kind] for kind in KINDS] + [[Changes.start, kind] for kind in KINDS]
    made += [draw.choices(KINDS, k=draw.randint(2, 7)) for _ in range(ROUNDS)]
    changes, client = Changes(worker), worker.client
    for kinds in made:
        task_id, names = issue(), [kind.__name__ for kind in kinds]

        async def make(task_id: str = task_id, kinds: list[Kind] = kinds) -> None:
            for kind in kinds:
                await kind(changes, task_id)

        notices = await published(client, task_id, make)
        entries = await told(client, task_id)
        seen = [shown(task_id, _compact(event), cursor) for cursor, event in entries]
        assert seen == [shown(task_id, notice) for notice in notices], names
        for place, (cursor, _) in enumerate(entries):
            assert await told(client, task_id, cursor) == entries[place + 1 :], names
        record = await client.get(TaskKeys.of(task_id).record) or b""
        streamed = await client.exists(TaskKeys.of(task_id).events) == 1
        assert streamed == (b'","first":"' not in record[:200]), names
        assert not (streamed and kinds in USUAL)
        assert streamed or len(entries) <= 2


@pytest.mark.parametrize("last", ["9999999999999-5", "12345678901234-0"])
async def test_an_end_within_the_millisecond_of_its_start_comes_after_it(issue, worker, last):
    """Or Redis' clock was set back meanwhile."""
    task_id = issue()
    keys = TaskKeys.of(task_id)
    await worker.start(task_id)
    record = (await worker.client.get(keys.record)).decode()
    await worker.client.set(keys.record, re.sub(r"\d{13}-\d+", last, record))
    await worker.succeed(task_id)
    ms, _, number = last.partition("-")

    assert [cursor for cursor, _ in await told(worker.client, task_id)] == [
        last,
        f"{ms}-{int(number) + 1}",
    ]


async def test_a_task_of_a_worker_of_the_version_before_goes_on_and_is_resumed(issue, worker):
    """It wrote an event stream for each task, and no `first`."""
    running, ended = issue(), issue()
    for task_id, states in ((running, ["STARTED"]), (ended, ["STARTED", "SUCCESS"])):
        keys = TaskKeys.of(task_id)
        for state in states:
            body = f'"status":"{state}","task_id":"{task_id}","result":null}}'
            cursor = await worker.client.xadd(keys.events, {"e": "{" + body})
            record = f'{{"cursor":"{cursor.decode()}",{body}'
            await worker.client.set(keys.record, record, ex=60)
    await worker.log(running, "a line")
    await worker.succeed(running)

    for task_id, count in ((running, 3), (ended, 2)):
        entries = await told(worker.client, task_id)
        assert len(entries) == count
        assert entries[-1][1]["status"] == "SUCCESS"
        assert await told(worker.client, task_id, entries[0][0]) == entries[1:]


async def test_events_that_redis_no_longer_has_are_not_made_up(issue, worker):
    """An evicted stream, and a record that never told its events."""
    logging, stock = issue(), issue()
    await worker.start(logging)
    await worker.log(logging, "a line")
    await worker.client.delete(TaskKeys.of(logging).events)
    await worker.stock(stock, "SUCCESS", {"first": "1-0"})

    for task_id in (logging, stock):
        snapshot = worker.client.register_script(history.SNAPSHOT)
        assert not history.complete(await snapshot(**history.question(task_id)))


async def test_an_ended_task_takes_little_memory_also_with_a_stream(issue, worker):
    usual, busy = [issue() for _ in range(500)], issue()
    before = (await worker.client.info("memory"))["used_memory"]
    for task_id in usual:
        await worker.start(task_id)
        await worker.succeed(task_id)
    after = (await worker.client.info("memory"))["used_memory"]
    await worker.start(busy)
    await worker.progress(busy, 1)
    await worker.succeed(busy)
    events = TaskKeys.of(busy).events

    assert (after - before) / len(usual) <= LIMIT_BYTES
    assert await worker.client.memory_usage(events, samples=0) <= 2000
    assert 0 < await worker.client.ttl(events) <= 3600
