"""Periodic tasks: RedBeat's entries in Redis, read and written; keys are in `penstock.wire`."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.access.quotas import over_quota
from gateway.config import Quotas
from gateway.redis.client import RedisClient
from gateway.schedules.redbeat_forms import redbeat_time, unix_time
from gateway.schedules.schedule_request import ScheduleRequest, read_definition
from penstock.wire.recurrence import KINDS, next_run
from penstock.wire.schedules import (
    ADMIN,
    BEAT_KEY,
    BEAT_SILENT_S,
    LOCK_KEY,
    NEVER,
    PREFIX,
    SCHEDULE_KEY,
    Owner,
    internal_name,
    tenant_and_name,
)

_LOOK_AGAIN_S = 60
"""Suggested to a tenant whose quota is used up; room is made by deleting."""

READ_AT_ONCE = 200
"""Entries read in one step: a few milliseconds of work; and of their definitions at most:"""
READ_BYTES = 1024 * 1024
"""More only of one that is larger, as another program may have written it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry."""

    tenant: str
    name: str
    """As the tenant calls it."""
    definition: Mapping[str, Any]
    """From `read_definition`."""
    last_run_at: float | None
    next_run_at: float | None
    total_runs: int
    owner: Owner | None
    """None: it is shipped, or another program wrote it."""
    unpublished: str = ""
    """Why beat could not publish it when it was due last, for people; empty: it could."""
    raw_owner: str = ""
    raw_definition: bytes = b""
    """Both as they were read."""

    @property
    def task(self) -> str:
        """Return the task's name."""
        return str(self.definition.get("task"))


class Schedules:
    """The schedules of the deployment.

    Args:
        redis: From `make_redis`.
        quotas: What one tenant may keep.
    """

    def __init__(self, redis: RedisClient, quotas: Quotas = Quotas()) -> None:  # noqa: B008  # frozen
        self._redis = redis
        self._quotas = quotas
        self._put = redis.script("schedule_put")
        self._suspend = redis.script("schedule_suspend")
        self._delete = redis.script("schedule_delete")

    async def each(self, tenant: str | None = None) -> AsyncGenerator[Entry, None]:
        """Yield every schedule, by tenant and name, a few of them in memory at a time.

        Args:
            tenant: Whose; None: everybody's.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        wanted = sorted(await self._names(tenant))
        for start in range(0, len(wanted), READ_AT_ONCE):  # others have their turn in between
            names = wanted[start : start + READ_AT_ONCE]
            sizes = await self._sizes(names)
            while names:
                count = _within(sizes, READ_BYTES)
                for entry in await self.read(names[:count]):
                    yield entry
                del names[:count], sizes[:count]

    async def _names(self, tenant: str | None) -> list[tuple[str, str]]:
        """Return tenant and name of each schedule of a tenant; None: of everybody."""
        keys = await self._redis.members(SCHEDULE_KEY)
        if tenant is not None and tenant != ADMIN:  # who has none of a prefix
            start = (PREFIX + internal_name(tenant, "x")).encode()[:-1]
            keys = [key for key in keys if key.startswith(start)]
        names = []
        for number, key in enumerate(keys):
            if number % READ_AT_ONCE == READ_AT_ONCE - 1:
                await asyncio.sleep(0)  # others have their turn
            try:
                named = tenant_and_name(key.decode().removeprefix(PREFIX))
                internal_name(*named)
            except ValueError:  # another program's; no request can name it
                continue
            names.append(named)
        return [one for one in names if tenant in (None, one[0])]

    async def _sizes(self, names: Sequence[tuple[str, str]]) -> list[int]:
        """Return the octets of the definition of each."""
        if not names:
            return []
        async with self._redis.pipeline() as pipe:
            for name in names:
                pipe.hstrlen(PREFIX + internal_name(*name), "definition")
            found: list[int] = await pipe.execute()
        return found

    async def _check_quota(self, tenant: str, name: str, size: int) -> None:
        """Refuse a definition that would take its tenant beyond its quota.

        Raises:
            Problem: `rate-limited`, `state-unavailable`.
        """
        others = [one for one in await self._names(tenant) if one != (tenant, name)]
        sizes = await self._sizes(others)
        quotas = self._quotas
        if len(others) >= quotas.schedules or sum(sizes) + size > quotas.schedule_bytes:
            raise over_quota(
                "schedules",
                f"tenant {tenant!r} keeps {len(others)} other schedules of {sum(sizes)} bytes; "
                f"its quota is {quotas.schedules} schedules and {quotas.schedule_bytes} bytes",
                retry_after_s=_LOOK_AGAIN_S,
            )

    async def read(self, names: Iterable[tuple[str, str]]) -> list[Entry]:
        """Return those of the schedules that exist, in order.

        Args:
            names: Tenant and name of each.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        wanted = []
        async with self._redis.pipeline() as pipe:
            for tenant, name in names:
                try:
                    key = PREFIX + internal_name(tenant, name)
                except ValueError:
                    continue  # no schedule is named so
                wanted.append((tenant, name))
                pipe.hmget(key, "definition", "meta", "penstock", "owner", "unpublished")
                pipe.zscore(SCHEDULE_KEY, key)
            found = await pipe.execute() if wanted else []
        entries = zip(wanted, found[::2], found[1::2], strict=True)
        schedules = (_schedule(*named, fields, score) for named, fields, score in entries)
        return [schedule for schedule in schedules if schedule is not None]

    async def beat_leads(self) -> bool:
        """Return whether a scheduler leads: one holds RedBeat's lock, or did until lately.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        async with self._redis.pipeline() as pipe:
            pipe.exists(LOCK_KEY)
            pipe.get(BEAT_KEY)
            locked, sign = await pipe.execute()
        at = _object(sign).get("at")
        return bool(locked) or (isinstance(at, int | float) and time.time() - at < BEAT_SILENT_S)

    async def any(self) -> bool:
        """Return whether there is any schedule that a scheduler would run.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        async with self._redis.pipeline() as pipe:
            pipe.zcard(SCHEDULE_KEY)
            [count] = await pipe.execute()
        return bool(count)

    async def put(
        self, tenant: str, name: str, request: ScheduleRequest, key: str
    ) -> tuple[Entry, bool]:
        """Make or replace a schedule.

        A schedule whose times changed, or that was switched on or off, counts from now: it must not
        run for a time that has passed under the old ones. So does one that another request, or the
        guard, changed since it was read here.

        Args:
            tenant: Whose it is.
            name: Its name.
            request: What it becomes.
            key: Name of the API key on whose behalf it runs.

        Returns:
            It, and whether it is new.

        Raises:
            Problem: `state-unavailable`; `rate-limited` where its quota is used up.
        """
        internal = internal_name(tenant, name)
        before = next(iter(await self.read([(tenant, name)])), None)
        definition = request.definition(internal)
        changed = (
            before is None
            or before.definition.get("schedule") != request.schedule
            or request.enabled != before.definition.get("enabled", True)
            or (before.owner is not None and before.owner.suspended != "")
        )
        await self._check_quota(tenant, name, len(definition))
        owner = Owner(key=key)
        existed = await self._write(internal, definition, owner, before, changed=changed)
        for schedule in await self.read([(tenant, name)]):
            return schedule, existed == 0
        return _deleted(tenant, name, definition, owner), existed == 0

    async def delete(self, schedule: Entry) -> bool:
        """Delete a schedule; False: it was deleted before.

        Raises:
            Problem: `state-unavailable`.
        """
        key = PREFIX + internal_name(schedule.tenant, schedule.name)
        return bool(await self._delete(keys=[key, SCHEDULE_KEY]))

    async def suspend(self, schedule: Entry, reason: str) -> None:
        """Keep beat from running a schedule, or let it run again, counting from now.

        Args:
            schedule: As it was read; one that was written since stays as it is.
            reason: Why, for people; empty: it runs again.

        Raises:
            Problem: `state-unavailable`.
        """
        if schedule.owner is None:
            return
        owner = Owner(key=schedule.owner.key, suspended=reason)
        internal = internal_name(schedule.tenant, schedule.name)
        if not reason:
            await self._write(
                internal,
                schedule.raw_definition,
                owner,
                schedule,
                changed=True,
                unless_written_since=True,
            )
            return
        await self._suspend(
            keys=[PREFIX + internal, SCHEDULE_KEY],
            args=[owner.dump(), schedule.raw_owner, repr(NEVER)],
        )

    async def _write(
        self,
        internal: str,
        text: bytes,
        owner: Owner,
        before: Entry | None,
        *,
        changed: bool,
        unless_written_since: bool = False,
    ) -> int:
        now, definition = time.time(), read_definition(text)
        ran_at = before.last_run_at if before else None
        due: float | None = None
        if definition.get("enabled", True):
            try:
                due = next_run(definition["schedule"], now)
            except ValueError:
                due = now  # beat says what is wrong with it
        existed = await self._put(
            keys=[PREFIX + internal, SCHEDULE_KEY],
            args=[
                text,
                repr(NEVER if due is None else due),
                orjson.dumps(redbeat_time(now)),
                orjson.dumps(redbeat_time(ran_at) if ran_at is not None else None),
                owner.dump(),
                before.raw_owner if before and unless_written_since else "",
                before.raw_definition if before and not changed else "",
            ],
        )
        return int(existed)


def _schedule(
    tenant: str, name: str, fields: Sequence[bytes | None], score: float | None
) -> Entry | None:
    """Return an entry of the fields of its hash, as `read` asks for them; None: unreadable."""
    definition, meta, noted, owned, unpublished = fields
    entry = read_definition(definition or b"")
    if not entry:
        return None
    runs = _object(meta)
    last_run_at = unix_time(runs.get("last_run_at"))
    change = _object(noted)
    changed_at = unix_time(change.get("changed_at"))
    if changed_at is not None and last_run_at is not None and last_run_at == changed_at:
        last_run_at = unix_time(change.get("ran_at"))
    next_run_at = score if entry.get("enabled", True) and score is not None and score >= 0 else None
    counted_from = unix_time(runs.get("last_run_at"))
    if next_run_at is not None and counted_from is not None:
        next_run_at = _due(entry.get("schedule"), counted_from, next_run_at)
    total_runs = runs.get("total_run_count")
    return Entry(
        tenant=tenant,
        name=name,
        definition=entry,
        last_run_at=last_run_at,
        next_run_at=next_run_at,
        total_runs=total_runs if isinstance(total_runs, int) else 0,
        owner=Owner.load(owned),
        unpublished=(unpublished or b"").decode("utf-8", "replace"),
        raw_owner=(owned or b"").decode("utf-8", "replace"),
        raw_definition=definition or b"",
    )


def _within(sizes: Sequence[int], most: int) -> int:
    """Return how many of the first sizes are within a bound together; one at least."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > most:
            return max(1, count)
    return len(sizes)


def _deleted(tenant: str, name: str, definition: bytes, owner: Owner) -> Entry:
    """Return an entry that was written and is gone: another request deleted it at once."""
    return Entry(
        tenant=tenant,
        name=name,
        definition=read_definition(definition),
        last_run_at=None,
        next_run_at=None,
        total_runs=0,
        owner=owner,
    )


def _due(stored: Any, counted_from: float, score: float) -> float | None:
    """Return when beat publishes it: the calendar's word, or the score of another library's."""
    if not isinstance(stored, dict) or stored.get("__type__") not in KINDS:
        return score
    try:
        return next_run(stored, counted_from)
    except ValueError:
        return None  # beat cannot read it, either


def _object(data: bytes | None) -> dict[str, Any]:
    try:
        found = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
