"""Entries of the schedule: RedBeat's, read from Redis with these differences.

1. One that cannot be read ends neither beat nor itself: it is looked at again a minute later.
2. When an entry is due is the calendar's word (penstock/wire/recurrence.py), which the gateway
   reads, too. RedBeat knows no time zones, no sun and no change of the clocks.
3. A run that is noted while somebody changes, deletes or suspends the entry does not undo that.
4. Arguments that the gateway wrote are JSON and stay as they are; RedBeat's own Python programs
   write datetimes as objects with `__type__`.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from celery.schedules import BaseSchedule, schedstate
from redbeat.decoder import RedBeatJSONDecoder, RedBeatJSONEncoder
from redbeat.schedulers import RedBeatSchedulerEntry, ensure_conf, get_redis

from penstock.wire.headers import JSON_HEADER
from penstock.wire.json_meaning import DATA
from penstock.wire.recurrence import KINDS, crontab_of, next_run
from penstock.wire.schedules import NEVER, Owner
from penstock.wire.scripts import script

_logger = logging.getLogger("celery.beat")

CLOCK_SET_BACK_S = 3 * 3600
"""A clock that is set back by up to so much repeats no run at a fixed time (Vixie cron's bound)."""


class Recurring(BaseSchedule):  # type: ignore[misc]  # Celery has no types
    """A recurrence of the calendar, as Celery's entries hold schedules.

    Args:
        stored: as it is kept in Redis.

    Raises:
        ValueError: it cannot be read, or this host does not know its time zone.
    """

    def __init__(self, stored: Mapping[str, Any], **options: Any) -> None:
        self.stored = dict(stored)
        next_run(self.stored, 0.0)
        super().__init__(**options)

    def __repr__(self) -> str:
        """Show it in beat's log."""
        return f"<{' '.join(f'{name}={value}' for name, value in self.stored.items())}>"

    def __eq__(self, other: object) -> bool:
        """Compare what it means."""
        return isinstance(other, Recurring) and self.stored == other.stored

    __hash__ = None  # type: ignore[assignment]

    @property
    def repeats(self) -> bool:
        """Whether the time of the day does not matter to it: an interval, or a wildcard crontab."""
        match self.stored["__type__"]:
            case "interval":
                return True
            case "crontab":
                return crontab_of(self.stored).wildcard
        return False


class PeriodicEntry(RedBeatSchedulerEntry):  # type: ignore[misc]  # RedBeat has no hints
    """One periodic task.

    Attributes:
        last_run_at: from which the next run counts; None: it is due at once.

    Args:
        redis_key: under which it was read; default: by its name.
        raw: definition and meta as they were read.
        fields: RedBeat's.
    """

    last_run_at: datetime | None

    def __init__(
        self, *args: Any, redis_key: str = "", raw: tuple[str, str] = ("", ""), **fields: Any
    ) -> None:
        self.redis_key = redis_key
        self.raw = raw
        super().__init__(*args, **fields)

    @classmethod
    def from_key(cls, key: str, app: Celery | None = None) -> "PeriodicEntry":
        """Read an entry.

        Raises:
            KeyError: there is none.
            ValueError: it cannot be read.
        """
        ensure_conf(app)
        definition, meta, owned = get_redis(app).hmget(key, "definition", "meta", "owner")
        if not definition:
            raise KeyError(key)
        owner = Owner.load(owned)
        try:
            fields = read_definition(definition, by_python=owner is None)
            last = json.loads(meta, cls=RedBeatJSONDecoder) if meta else {"last_run_at": None}
            raw = (definition, meta or "")
            last.setdefault("last_run_at", None)
            entry = cls(app=app, redis_key=key, raw=raw, **fields, **last)
            entry.last_run_at = last["last_run_at"]  # Celery makes now of None
            _ = entry.score  # one whose time cannot be worked out cannot be planned, either
        except (TypeError, ArithmeticError, AttributeError, KeyError, OSError) as error:
            raise ValueError(repr(error)) from error
        if owner is not None and owner.suspended:
            entry.enabled = False
        return entry

    @property
    def key(self) -> str:
        """Where it is kept."""
        return self.redis_key or str(self.generate_key(self.app, self.name))

    @property
    def score(self) -> float:
        """When it is due, unix seconds; below 0: never. Times in the past stay what they are.

        One that is switched off or suspended is never due, so that beat does not look at it: who
        switches it on writes when it is due.
        """
        if not self.enabled:
            return NEVER
        if self.last_run_at is None:
            return float(self.app.now().timestamp())
        if isinstance(self.schedule, Recurring):
            due = next_run(self.schedule.stored, self.last_run_at.timestamp())
            return NEVER if due is None else due
        return float(super().score)

    def is_due(self) -> schedstate:
        """Return whether it is due, and the seconds to the next look."""
        if not self.enabled:
            return schedstate(False, None)  # noqa: FBT003  # Celery's
        if not isinstance(self.schedule, Recurring):
            return schedstate(*super().is_due())
        now = self.app.now().timestamp()
        due = 0.0 if self.last_run_at is None else self.score
        if due == NEVER:
            return schedstate(False, None)  # noqa: FBT003
        if due > now:
            return schedstate(False, due - now)  # noqa: FBT003
        following = next_run(self.schedule.stored, now)
        return schedstate(True, None if following is None else following - now)  # noqa: FBT003

    def ran(self, at: datetime) -> None:
        """Note a run, and count the next one from it.

        Args:
            at: when beat saw that it was due, not when the publish had ended: what became due in
                between is not passed over.
        """
        self.last_run_at = at
        self.total_run_count += 1
        self._note(with_meta=True)

    def skip(self, at: datetime) -> None:
        """Count from now without a run.

        Args:
            at: now.
        """
        self.last_run_at = at
        self._note(with_meta=True)

    def missed_by_more_than(self, deadline_s: float) -> bool:
        """Return whether a crontab had no time within the last seconds: its run would be too late.

        Args:
            deadline_s: Celery's `beat_cron_starting_deadline`.
        """
        if not isinstance(self.schedule, Recurring) or self.last_run_at is None:
            return False
        if self.schedule.stored["__type__"] != "crontab":
            return False
        now = self.app.now().timestamp()
        due = next_run(self.schedule.stored, max(self.last_run_at.timestamp(), now - deadline_s))
        return due is None or due > now

    def plan(self) -> None:
        """Write down when it is due; if the clock was set back, count from now where that is right.

        A clock that was set back by hours shows times again at which something ran. As with Vixie
        cron, intervals and wildcard crontabs go on by the clock, and fixed times run once.
        """
        recount = self.must_recount()
        if recount:
            _logger.warning("beat: %s last ran at a time to come: counting from now", self.name)
            self.last_run_at = self.app.now()
        self._note(with_meta=recount)

    def must_recount(self) -> bool:
        """Return whether the last run lies so far in the future that it cannot be counted from."""
        if self.last_run_at is None:
            return False
        # Not their difference: Python takes that of two times of one zone by the wall clock.
        ahead_s = self.last_run_at.timestamp() - self.app.now().timestamp()
        repeats = isinstance(self.schedule, Recurring) and self.schedule.repeats
        return bool(ahead_s > (1 if repeats else CLOCK_SET_BACK_S))

    def put_off(self, seconds: float, why: str) -> None:
        """Have the entry, which is due, looked at again after so many seconds.

        Its run stays the same one: neither its time nor the task id of the run changes.

        Args:
            seconds: from now.
            why: it could not be published; the gateway shows it.
        """
        self._note(score=self.app.now().timestamp() + seconds, why=why)

    def _next_instance(
        self,
        last_run_at: datetime | None = None,
        only_update_last_run_at: bool = False,  # noqa: FBT001, FBT002  # RedBeat's
    ) -> "PeriodicEntry":
        self.total_run_count -= only_update_last_run_at
        self.ran(last_run_at or datetime.now(UTC))
        return self

    __next__ = next = _next_instance

    def _note(self, *, with_meta: bool = False, score: float | None = None, why: str = "") -> None:
        meta = {"last_run_at": instant(self.last_run_at), "total_run_count": self.total_run_count}
        body = json.dumps(meta, cls=RedBeatJSONEncoder) if with_meta else ""
        keys = (self.key, self.app.redbeat_conf.schedule_key)
        due = self.score if score is None else score
        text = script("schedule_ran").text
        get_redis(self.app).eval(text, 2, *keys, *self.raw, body, repr(due), why)


def instant(at: datetime | None) -> datetime | None:
    """Return a time in UTC: RedBeat keeps of one in a zone the wall clock, which shows some twice.

    Args:
        at: Aware.
    """
    return None if at is None else at.astimezone(UTC)


class _Values(RedBeatJSONDecoder):  # type: ignore[misc]  # RedBeat has no hints
    """RedBeat's decoder, for arguments: what is no object of its own stays what it is."""

    def dict_to_object(self, d: dict[str, Any]) -> Any:
        """Make an object of a dict that has a `__type__`."""
        try:
            return super().dict_to_object(dict(d))
        except (TypeError, ValueError, KeyError, AttributeError, OSError):
            return d


def read_definition(definition: str, *, by_python: bool = True) -> dict[str, Any]:
    """Read what is kept of an entry: its schedule, and what is to be published.

    RedBeat's decoder makes an object of each dict with a `__type__`. In arguments that is right for
    what Python saved, and wrong for a client's JSON, which says so itself (penstock/wire).

    Args:
        definition: JSON.
        by_python: whether a program saved it, and no gateway.

    Raises:
        TypeError, ValueError, AttributeError, KeyError, OSError: it cannot be read.
    """
    fields: dict[str, Any] = json.loads(definition)
    headers = (fields.get("options") or {}).get("headers") or {}
    if by_python and headers.get(JSON_HEADER) != DATA:
        for name in fields.keys() & {"args", "kwargs", "options"}:
            fields[name] = json.loads(json.dumps(fields[name]), cls=_Values)
    fields["schedule"] = _schedule(fields["schedule"])
    return fields


def _schedule(stored: Any) -> Any:
    """Return the schedule of an entry: the calendar's, or as RedBeat's decoder makes it."""
    if isinstance(stored, dict) and stored.get("__type__") in KINDS:
        return Recurring(stored)
    return json.loads(json.dumps(stored), cls=RedBeatJSONDecoder)
