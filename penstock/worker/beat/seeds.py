"""The periodic tasks that come with the code: `beat_schedule`, and `penstock_first_schedule`.

    not yet seeded ──► written, and its fingerprint kept
    the code's changed ──► replaced, unless it was edited or deleted over HTTP since
    gone from the code ──► deleted, unless it was edited over HTTP since

The fingerprint is of the definition as it was written; an entry whose definition has another one
was edited. A deployment that seeded before there were fingerprints keeps its entries.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from celery import Celery
from celery.schedules import BaseSchedule, crontab, maybe_schedule, schedule
from redbeat.decoder import RedBeatJSONEncoder
from redbeat.schedulers import get_redis

from penstock.wire.crontab import RANGES
from penstock.wire.recurrence import next_run
from penstock.wire.schedules import PREFIX
from penstock.worker.beat.schedule_entries import Recurring

FINGERPRINTS_KEY = "penstock:seeds"
"""Hash: name of a seed → fingerprint of the definition that was written."""

_logger = logging.getLogger("celery.beat")


class Seeds:
    """Writes what the code says into the schedule.

    Args:
        app: whose `beat_schedule` it is.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    def sow(self, keep: Callable[[], None] = lambda: None) -> None:
        """Bring the schedule to what the code says; to be called while this beat leads.

        Args:
            keep: Called before each entry: there may be many.

        Raises:
            RedisError: Redis is away.
        """
        wanted = dict(self._definitions())
        client = get_redis(self._app)
        known = client.hgetall(FINGERPRINTS_KEY)
        before = client.smembers(self._app.redbeat_conf.statics_key)
        for name, definition in wanted.items():
            keep()
            self._sow(name, definition, known.get(name), seeded=name in before)
        for name in known.keys() - self._seeds().keys():
            self._remove(name, known[name])

    def _sow(self, name: str, definition: str, known: str | None, *, seeded: bool) -> None:
        client, key = get_redis(self._app), PREFIX + name
        schedule_key = self._app.redbeat_conf.schedule_key
        score, found = client.zscore(schedule_key, key), client.hget(key, "definition")
        mark = fingerprint(definition)
        if score is None and found and fingerprint(found) == mark:
            # The schedule was deleted, or had another type when the entry was written: of a
            # transaction Redis carries out what it can.
            client.zadd(schedule_key, {key: time.time()}, nx=True)
        if known == mark:
            return
        if not seeded and known is None and not found:
            self._write(name, definition)
            _logger.info("beat: seeded %s", name)
        elif found and known is not None and fingerprint(found) == known:
            self._write(name, definition)
            _logger.info("beat: %s is now as the code says", name)
        elif found and fingerprint(found) != mark:
            _logger.warning("beat: %s stays as it was edited; the code says otherwise", name)
            return
        elif not found:
            return  # deleted over HTTP
        # Afterwards: dying in between repeats a write, the other way round would lose it.
        client.hset(FINGERPRINTS_KEY, name, mark)
        client.sadd(self._app.redbeat_conf.statics_key, name)

    def _remove(self, name: str, known: str) -> None:
        client, key = get_redis(self._app), PREFIX + name
        found = client.hget(key, "definition")
        if found and fingerprint(found) == known:
            client.zrem(self._app.redbeat_conf.schedule_key, key)
            client.delete(key)
            _logger.info("beat: removed %s, which the code no longer has", name)
        client.hdel(FINGERPRINTS_KEY, name)
        client.srem(self._app.redbeat_conf.statics_key, name)

    def _write(self, name: str, definition: str) -> None:
        """Write an entry, which counts from now; a new shipped one is due at once."""
        client, key, now = get_redis(self._app), PREFIX + name, datetime.now(UTC)
        meta, change = (_object(text) for text in client.hmget(key, "meta", "penstock"))
        ran_at = meta.get("last_run_at")
        if ran_at == change.get("changed_at"):  # it was no run
            ran_at = change.get("ran_at")
        is_new_and_shipped = not meta and name not in self._app.conf.beat_schedule
        count = {"last_run_at": None if is_new_and_shipped else now}
        count |= {"total_run_count": meta.get("total_run_count", 0)}
        fields = {
            "definition": definition,
            "meta": json.dumps(count, cls=RedBeatJSONEncoder),
            "penstock": json.dumps({"changed_at": now, "ran_at": ran_at}, cls=RedBeatJSONEncoder),
        }
        with client.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=fields)
            pipe.hdel(key, "owner")  # who edited it, and edited it back
            pipe.zadd(self._app.redbeat_conf.schedule_key, {key: now.timestamp()})
            pipe.execute()

    def _seeds(self) -> dict[str, Mapping[str, Any]]:
        """Those of the first schedule are due at once in a new deployment, others after a while."""
        conf = self._app.conf
        return {**conf.penstock_first_schedule, **conf.beat_schedule}

    def _definitions(self) -> Iterator[tuple[str, str]]:
        for name, shipped in self._seeds().items():
            try:
                yield name, self._definition(name, shipped)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                _logger.error("beat: %s of beat_schedule cannot be kept: %s", name, error)  # noqa: TRY400  # whose bug it is not

    def _definition(self, name: str, shipped: Mapping[str, Any]) -> str:
        entry = {
            "name": name,
            "task": shipped["task"],
            "args": list(shipped.get("args") or ()),
            "kwargs": dict(shipped.get("kwargs") or {}),
            "options": dict(shipped.get("options") or {}),
            "schedule": stored_schedule(
                maybe_schedule(shipped["schedule"], shipped.get("relative", False), app=self._app),
                str(self._app.conf.timezone or "UTC"),
            ),
            "enabled": True,
        }
        return json.dumps(entry, cls=RedBeatJSONEncoder)


def fingerprint(definition: str) -> str:
    """Return what tells two definitions apart, however they are written; empty: unreadable."""
    try:
        found = json.loads(definition)
        stored = found["schedule"]
        if stored.get("__type__") == "crontab":
            stored = {name: str(value) for name, value in stored.items()}
        meaning = [
            found["task"], found.get("args") or [], found.get("kwargs") or {},
            found.get("options") or {}, stored, found.get("enabled", True),
        ]  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()[:32]


def _object(text: str | None) -> dict[str, Any]:
    """Return the object of a hash's field; empty: it is none."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def stored_schedule(told: Any, zone: str) -> Any:
    """Return a schedule of Python code as it is kept in Redis.

    Args:
        told: Celery's, ours, or RedBeat's, which its encoder knows.
        zone: in which the application's crontabs count.

    Raises:
        ValueError: it cannot be kept.
    """
    match told:
        case Recurring():
            return told.stored
        case crontab():
            stored = {"__type__": "crontab", **{name: _field(told, name) for name in RANGES}}
            stored |= {} if zone == "UTC" else {"timezone": zone}
            next_run(stored, 0.0)
            return stored
        case schedule():
            return {
                "__type__": "interval",
                "every": told.run_every.total_seconds(),
                "relative": bool(told.relative),
            }
        case BaseSchedule() if hasattr(told, "event"):  # Celery's solar, which needs a library in C
            return {
                "__type__": "solar", "event": told.event,
                "latitude": float(told.lat), "longitude": float(told.lon),
            }  # fmt: skip
    return told


def _field(told: crontab, name: str) -> str:
    """Return a field as it was written; of a set of numbers, the numbers."""
    written = getattr(told, f"_orig_{name}")
    if isinstance(written, str | int):
        return str(written)
    return ",".join(str(number) for number in sorted(getattr(told, name)))
