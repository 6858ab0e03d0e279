"""Periodic tasks: RedBeat's entries in Redis, read and written.

hash redbeat:<name>        definition   what runs when, JSON
meta         last_run_at, total_run_count; written by the beat
penstock     when the schedule was last changed, and its last run
before: the beat counts from the change
sorted set redbeat::schedule            key → when it is due, unix seconds
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from gateway.errors import Problem
from gateway.redis_client import commands
from gateway.schedules.schedule_request import (
    ScheduleRequest,
    client_options,
    client_schedule,
    redbeat_time,
    unix_time,
)
from gateway.timestamps import rfc3339
from penstock.wire.recurrence import KINDS, next_run

PREFIX = "redbeat:"
SCHEDULE_KEY = "redbeat::schedule"
"""RedBeat's `redbeat_key_prefix` and `schedule_key`, as they are by default."""
_PUT = """
-- KEYS: entry, schedule
-- ARGV: definition, when it is due or '', now as RedBeat writes it or '' when its times stay,
--       its last run so far
local existed = redis.call('HEXISTS', KEYS[1], 'definition')
redis.call('HSET', KEYS[1], 'definition', ARGV[1])
if ARGV[3] ~= '' then
  local runs, found = 0, redis.call('HGET', KEYS[1], 'meta')
  local sound, meta = pcall(cjson.decode, found or '{}')
  if sound and type(meta) == 'table' then runs = tonumber(meta.total_run_count) or 0 end
  redis.call('HSET', KEYS[1],
    'penstock', '{"changed_at":' .. ARGV[3] .. ',"ran_at":' .. ARGV[4] .. '}',
    'meta', string.format('{"last_run_at":%s,"total_run_count":%d}', ARGV[3], runs))
end
if ARGV[2] ~= '' then redis.call('ZADD', KEYS[2], ARGV[2], KEYS[1]) end
return existed
"""
"""Make or change an entry. Its count is kept; a run noted meanwhile may be told as not the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One entry."""

    definition: Mapping[str, Any]
    last_run_at: float | None
    next_run_at: float | None
    total_runs: int

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.definition.get("task"))

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the API."""
        definition = self.definition
        return {
            "name": definition.get("name"),
            "task": definition.get("task"),
            "args": definition.get("args") or [],
            "kwargs": definition.get("kwargs") or {},
            "options": client_options(definition.get("options") or {}),
            **client_schedule(definition.get("schedule")),
            "enabled": definition.get("enabled", True),
            "last_run_at": _told(self.last_run_at),
            "next_run_at": _told(self.next_run_at),
            "total_runs": self.total_runs,
        }


class Schedules:
    """The schedules of the deployment.

    Args:
        redis: From `make_redis`.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._put = redis.register_script(_PUT)

    async def names(self) -> list[str]:
        """Names of all schedules, sorted.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        async with commands():
            keys: list[bytes] = list(await self._redis.zrange(SCHEDULE_KEY, 0, -1))  # type: ignore[arg-type]
        names = (key.decode("utf-8", "replace") for key in keys)
        return sorted(name.removeprefix(PREFIX) for name in names)

    async def read(self, names: list[str]) -> list[Schedule]:
        """Those of the schedules that exist, in order.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        async with commands(), self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(PREFIX + name, "definition", "meta", "penstock")
                pipe.zscore(SCHEDULE_KEY, PREFIX + name)
            found = await pipe.execute()
        pairs = zip(found[::2], found[1::2], strict=True)
        schedules = (_schedule(fields, score) for fields, score in pairs)
        return [schedule for schedule in schedules if schedule is not None]

    async def get(self, name: str) -> Schedule:
        """One schedule.

        Raises:
            Problem: `unknown-schedule`, `state-unavailable`.
        """
        found = await self.read([name])
        if not found:
            raise Problem("unknown-schedule", f"no schedule {name!r}")
        return found[0]

    async def put(self, name: str, request: ScheduleRequest) -> tuple[Schedule, bool]:
        """Make or replace a schedule.

        A schedule whose times changed, or that was switched on, counts from now: it must not run
        for a time that has passed under the old ones.

        Args:
            name: Its name.
            request: What it becomes.

        Returns:
            It, and whether it is new.

        Raises:
            Problem: `state-unavailable`.
        """
        now = time.time()
        before = await self.read([name])
        ran_at = before[0].last_run_at if before else None
        definition = request.definition(name)
        changed = not before or (
            before[0].definition.get("schedule") != definition["schedule"]
            or (request.enabled and not before[0].definition.get("enabled", True))
        )
        score = next_run(request.schedule, now) if changed else None
        if changed and score is None:
            score = -1.0  # never
        async with commands():
            existed = await self._put(
                keys=[PREFIX + name, SCHEDULE_KEY],
                args=[
                    orjson.dumps(definition),
                    "" if score is None else repr(score),
                    orjson.dumps(redbeat_time(now)) if changed else "",
                    orjson.dumps(redbeat_time(ran_at) if ran_at is not None else None),
                ],
            )
        return await self.get(name), not existed

    async def delete(self, name: str) -> None:
        """Delete a schedule.

        Raises:
            Problem: `unknown-schedule`, `state-unavailable`.
        """
        async with commands(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(SCHEDULE_KEY, PREFIX + name)
            pipe.hexists(PREFIX + name, "definition")
            pipe.delete(PREFIX + name)
            _, existed, _ = await pipe.execute()
        if not existed:
            raise Problem("unknown-schedule", f"no schedule {name!r}")


def _schedule(fields: Sequence[bytes | None], score: float | None) -> Schedule | None:
    """An entry of its definition, meta and penstock; None when it cannot be read."""
    definition, meta, noted = fields
    told = _object(definition)
    if not told:
        return None
    runs = _object(meta)
    last_run_at = unix_time(runs.get("last_run_at"))
    change = _object(noted)
    changed_at = unix_time(change.get("changed_at"))
    if changed_at is not None and last_run_at is not None and last_run_at == changed_at:
        last_run_at = unix_time(change.get("ran_at"))
    next_run_at = score if told.get("enabled", True) and score is not None and score >= 0 else None
    counted_from = unix_time(runs.get("last_run_at"))
    if next_run_at is not None and counted_from is not None:
        next_run_at = _due(told.get("schedule"), counted_from, next_run_at)
    total_runs = runs.get("total_run_count")
    return Schedule(
        definition=told,
        last_run_at=last_run_at,
        next_run_at=next_run_at,
        total_runs=total_runs if isinstance(total_runs, int) else 0,
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


def _told(moment: float | None) -> str | None:
    return None if moment is None else rfc3339(moment)
