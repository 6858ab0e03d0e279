"""Long operations: written down in Redis, done by any gateway, and continued when one dies.

hash penstock:operation:<id>        what it is, and how far
set penstock:operations             ids of those that are not done
sorted set penstock:operations:all  ids of all that are kept, by when they were asked for
string penstock:operation:<id>:by   the gateway that does it: a lease, renewed while it works

running ── a gateway takes the lease ─► a slice of work, counts, renews ──► done
▲                                      │ dies     ▲ └─────────┘
└──────── the lease runs out ◄─────────┘            more is left

One gateway does a slice of each of its operations at a time, so that none waits for a long one.
"""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, Protocol

import orjson

from gateway.errors import Problem
from gateway.redis.client import RedisClient
from penstock.looper import Looper
from penstock.wire.keys import DAY_S

OPEN_KEY: Final = "penstock:operations"
ALL_KEY: Final = "penstock:operations:all"
PREFIX: Final = "penstock:operation:"
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KEPT_S: Final = 7 * DAY_S
"""How long it is known what became of an operation: from its end, or from its last renewal."""
LEASE_S: Final = 10
"""How long after its gateway died an operation is continued."""
LOOK_S: Final = 1.0
SLICE_S: Final = 2.0
"""How long one slice of work takes at most, about; well below the lease."""

State = Literal["running", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LongOperation:
    """What is to be done, and how far it is."""

    id: str
    kind: str
    subject: str
    """What it is done to: a queue."""
    tenant: str
    """Of who asked for it."""
    since: float
    """When it was asked for, unix seconds."""
    of: int
    done: int = 0
    failed: int = 0
    refusals: Mapping[str, int] = field(default_factory=dict)
    """Why those failed, as far as it is known: how many by code."""
    state: State = "running"

    @property
    def left(self) -> int:
        """How many have neither been done nor failed."""
        return max(0, self.of - self.done - self.failed)


class UnknownOperationError(Problem):
    """There is no operation of this id, or it is no longer kept."""

    def __init__(self, operation_id: str) -> None:
        super().__init__("unknown-operation", f"there is no operation {operation_id!r}")


class Count(Protocol):
    """Counts what an operation has done."""

    async def __call__(
        self, done: int, failed: int, refusals: Mapping[str, int] | None = None
    ) -> None:
        """Count more, and keep the operation ours.

        Args:
            done: How many more were done.
            failed: How many more failed.
            refusals: Why all that failed did, by code; None: that is not known.
        """


Work = Callable[[LongOperation, Count], Awaitable[bool]]
"""Does a slice of what is left of an operation; returns whether all is done."""


class LongOperations:
    """Keeps operations, and does those that no other gateway does.

    Args:
        redis: Keeps them.
        works: Kind → what does it.
    """

    def __init__(self, redis: RedisClient, works: Mapping[str, Work]) -> None:
        self._redis = redis
        self._works = works
        self._own = uuid.uuid4().hex
        self.looper = Looper("operations", self._turn, interval_s=LOOK_S, expected=(Problem,))
        """Does them, a slice of each at a time."""

    def __repr__(self) -> str:
        """Name the kinds."""
        return f"<LongOperations {sorted(self._works)}>"

    async def begin(
        self, kind: str, subject: str, tenant: str, of: int, operation_id: str
    ) -> LongOperation:
        """Write down an operation; a gateway begins with it within a second.

        One that is written down already goes on as it is.

        Args:
            kind: Of its work.
            subject: What it is done to.
            tenant: Of who asks for it.
            of: How many there are.
            operation_id: Its id, a UUID.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`; it may be begun all the same.
        """
        with contextlib.suppress(UnknownOperationError):
            return await self.find(operation_id)
        one = LongOperation(
            id=operation_id,
            kind=kind,
            subject=subject,
            tenant=tenant,
            since=time.time(),
            of=of,
        )
        fields: dict[Any, Any] = {
            "kind": kind, "subject": subject, "tenant": tenant, "since": one.since, "of": of,
            "done": 0, "failed": 0, "state": "running",
        }  # fmt: skip
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(PREFIX + one.id, mapping=fields)
            pipe.expire(PREFIX + one.id, KEPT_S)
            pipe.sadd(OPEN_KEY, one.id)
            pipe.zadd(ALL_KEY, {one.id: one.since})
            pipe.zrangebyscore(ALL_KEY, "-inf", one.since - KEPT_S)
            *_, old = await pipe.execute()
        await self._forget([each.decode() for each in old])
        return one

    async def _forget(self, old: Sequence[str]) -> None:
        """Take those off the list that are no longer kept: one that takes long still is."""
        if not old:
            return
        async with self._redis.pipeline() as pipe:
            for one in old:
                pipe.exists(PREFIX + one)
            kept = await pipe.execute()
        gone = [one for one, there in zip(old, kept, strict=True) if not there]
        async with self._redis.pipeline() as pipe:
            for one in gone:
                pipe.zrem(ALL_KEY, one)
            await pipe.execute()

    async def find(self, operation_id: str) -> LongOperation:
        """Return an operation.

        Raises:
            UnknownOperationError: There is none of this id.
            RedisAwayError: Redis does not answer.
        """
        if not _ID.fullmatch(operation_id):  # its key could be another of ours: `<id>:by`
            raise UnknownOperationError(operation_id)
        found = _stored(operation_id, await self._redis.hgetall(PREFIX + operation_id))
        if found is None:
            raise UnknownOperationError(operation_id)
        return found

    async def newest(self, most: int, tenant: str | None) -> list[LongOperation]:
        """Return operations that are kept, the newest first.

        Args:
            most: At most so many.
            tenant: Of that tenant alone; None: of all.

        Raises:
            RedisAwayError: Redis does not answer.
        """
        found: list[LongOperation] = []
        start = 0
        while len(found) < most:
            async with self._redis.pipeline() as pipe:
                pipe.zrevrange(ALL_KEY, start, start + most - 1)
                [ids] = await pipe.execute()
            if not ids:
                break
            async with self._redis.pipeline() as pipe:
                for one in ids:
                    pipe.hgetall(PREFIX + one.decode())
                kept = map(_stored, [one.decode() for one in ids], await pipe.execute())
                found += [one for one in kept if one and tenant in {None, one.tenant}]
            start += most
        return found[:most]

    async def _turn(self) -> None:
        """Do what is open and no other gateway does, until nothing is left.

        Raises:
            Problem: A server is away; another turn goes on.
        """
        left = True
        while left:
            open_ids = [one for one in await self._open() if await self._takes(one)]
            ends = await asyncio.gather(*map(self._do, open_ids), return_exceptions=True)
            for end in ends:
                if isinstance(end, BaseException):
                    raise end
            self.looper.well()
            left = any(ends)

    async def _open(self) -> list[str]:
        async with self._redis.pipeline() as pipe:
            pipe.smembers(OPEN_KEY)
            [open_ids] = await pipe.execute()
        return sorted(one.decode() for one in open_ids)

    async def _takes(self, operation_id: str) -> bool:
        """Take the lease of an operation that is not done, whoever has it: it is kept on."""
        key = f"{PREFIX}{operation_id}:by"
        async with self._redis.pipeline() as pipe:
            pipe.set(key, self._own, nx=True, ex=LEASE_S)
            pipe.get(key)
            pipe.expire(PREFIX + operation_id, KEPT_S)
            _, holder, _ = await pipe.execute()
        return bool(holder == self._own.encode())

    async def _do(self, operation_id: str) -> bool:
        """Do a slice of an operation, or note its end; return whether more is left for us.

        Raises:
            Problem: A server is away.
        """
        try:
            one = await self.find(operation_id)
        except UnknownOperationError:
            pass
        else:
            work = self._works.get(one.kind)
            if work is None:  # of a later release, whose gateway does it
                await self._leave(operation_id)
                return False
            if not await work(one, partial(self._count, operation_id)):
                return True
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(PREFIX + operation_id, "state", "done")
            pipe.expire(PREFIX + operation_id, KEPT_S)
            pipe.srem(OPEN_KEY, operation_id)
            pipe.delete(f"{PREFIX}{operation_id}:by")
            await pipe.execute()
        return False

    async def _leave(self, operation_id: str) -> None:
        async with self._redis.pipeline() as pipe:
            pipe.delete(f"{PREFIX}{operation_id}:by")
            await pipe.execute()

    async def _count(
        self,
        operation_id: str,
        done: int,
        failed: int,
        refusals: Mapping[str, int] | None = None,
    ) -> None:
        async with self._redis.pipeline() as pipe:
            pipe.hincrby(PREFIX + operation_id, "done", done)
            pipe.hincrby(PREFIX + operation_id, "failed", failed)
            if refusals:
                pipe.hset(PREFIX + operation_id, "refusals", orjson.dumps(dict(refusals)))
            pipe.set(f"{PREFIX}{operation_id}:by", self._own, ex=LEASE_S)
            await pipe.execute()


def _stored(operation_id: str, found: Mapping[bytes, bytes]) -> LongOperation | None:
    """Return an operation as Redis has it; None: there is none."""
    if b"kind" not in found:
        return None
    text = {name.decode(): value.decode() for name, value in found.items()}
    return LongOperation(
        id=operation_id,
        kind=text["kind"],
        subject=text["subject"],
        tenant=text["tenant"],
        since=float(text["since"]),
        of=int(text["of"]),
        done=int(text["done"]),
        failed=int(text["failed"]),
        refusals=orjson.loads(text.get("refusals", "{}")),
        state="done" if text["state"] == "done" else "running",
    )
