"""Long operations: written down in Redis, done by any gateway, and continued when one dies.

hash penstock:operation:<id>        what it is, and how far
set penstock:operations             ids of those that are not done
string penstock:operation:<id>:by   the gateway that does it: a lease, renewed while it works

running ── a gateway takes the lease ─► works, counts, renews ──► done
▲                                      │ dies
└──────── the lease runs out ◄─────────┘
"""

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.errors import Problem
from gateway.redis.client import RedisClient
from penstock.looper import Looper
from penstock.wire.keys import DAY_S

OPEN_KEY: Final = "penstock:operations"
PREFIX: Final = "penstock:operation:"
KEPT_S: Final = 7 * DAY_S
"""How long it is known what became of an operation."""
LEASE_S: Final = 10
"""How long after its gateway died an operation is continued."""
LOOK_S: Final = 1.0

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
    state: State = "running"

    @property
    def left(self) -> int:
        """How many have neither been done nor failed."""
        return max(0, self.of - self.done - self.failed)


Count = Callable[[int, int], Awaitable[None]]
"""Takes how many more were done, and failed; keeps the operation ours."""
Work = Callable[[LongOperation, Count], Awaitable[None]]
"""Does what is left of an operation."""


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
        """Does them, one after the other."""

    def __repr__(self) -> str:
        """Name the kinds."""
        return f"<LongOperations {sorted(self._works)}>"

    async def begin(self, kind: str, subject: str, tenant: str, of: int) -> LongOperation:
        """Write down an operation; a gateway begins with it within a second.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`; it may be begun all the same.
        """
        one = LongOperation(
            id=str(uuid.uuid4()),
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
            await pipe.execute()
        return one

    async def find(self, operation_id: str) -> LongOperation:
        """Return an operation.

        Raises:
            Problem: `unknown-operation`, `state-unavailable`.
        """
        found = await self._redis.hgetall(PREFIX + operation_id)
        if b"kind" not in found:
            raise Problem("unknown-operation", f"there is no operation {operation_id!r}")
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
            state="done" if text["state"] == "done" else "running",
        )

    async def _turn(self) -> None:
        """Do what is open and no other gateway does.

        Raises:
            Problem: A server is away; another turn goes on.
        """
        async with self._redis.pipeline() as pipe:
            pipe.smembers(OPEN_KEY)
            [open_ids] = await pipe.execute()
        for operation_id in sorted(one.decode() for one in open_ids):
            if await self._takes(operation_id):
                self.looper.well()
                await self._do(operation_id)

    async def _takes(self, operation_id: str) -> bool:
        key = f"{PREFIX}{operation_id}:by"
        async with self._redis.pipeline() as pipe:
            pipe.set(key, self._own, nx=True, ex=LEASE_S)
            pipe.get(key)
            _, holder = await pipe.execute()
        return bool(holder == self._own.encode())

    async def _do(self, operation_id: str) -> None:
        try:
            one = await self.find(operation_id)
        except Problem as problem:
            if problem.code != "unknown-operation":
                raise
        else:
            work = self._works.get(one.kind)
            if work is None:  # of a later release, whose gateway does it
                return
            await work(one, lambda done, failed: self._count(operation_id, done, failed))
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(PREFIX + operation_id, "state", "done")
            pipe.expire(PREFIX + operation_id, KEPT_S)
            pipe.srem(OPEN_KEY, operation_id)
            pipe.delete(f"{PREFIX}{operation_id}:by")
            await pipe.execute()

    async def _count(self, operation_id: str, done: int, failed: int) -> None:
        async with self._redis.pipeline() as pipe:
            pipe.hincrby(PREFIX + operation_id, "done", done)
            pipe.hincrby(PREFIX + operation_id, "failed", failed)
            pipe.set(f"{PREFIX}{operation_id}:by", self._own, ex=LEASE_S)
            await pipe.execute()
