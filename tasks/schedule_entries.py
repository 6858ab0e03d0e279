"""Entries of the schedule: RedBeat's, read from Redis with three additions.

1. One that cannot be read does not end beat.
2. A crontab may have a time zone, and there is `solar`; RedBeat knows neither.
3. A run that is noted while somebody changes or deletes the entry does not undo that.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, cast
from zoneinfo import ZoneInfo

from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import crontab
from redbeat.decoder import RedBeatJSONDecoder, RedBeatJSONEncoder, to_timestamp
from redbeat.schedulers import RedBeatSchedulerEntry, ensure_conf, get_redis

from tasks.solar import Solar

NOTE_RUN = """
-- KEYS: entry, schedule.  ARGV: definition that was read, meta ('' = only the score), score
local definition = redis.call('HGET', KEYS[1], 'definition')
if not definition then return 0 end
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'meta', ARGV[2]) end
if definition ~= ARGV[1] then return 1 end
redis.call('ZADD', KEYS[2], ARGV[3], KEYS[1])
return 2
"""
"""Note a run, and when the next is due: unless the entry was deleted (0) or changed (1)."""

_logger = logging.getLogger("celery.beat")


class Decoder(RedBeatJSONDecoder):  # type: ignore[misc]  # RedBeat has no hints
    """RedBeat's decoder, which also knows a crontab's time zone, and the sun."""

    def dict_to_object(self, d: dict[str, Any]) -> Any:
        """Make an object of a dict that has a `__type__`."""
        match d.get("__type__"):
            case "crontab" if "timezone" in d:
                zone = ZoneInfo(d.pop("timezone"))
                zoned = crontab(**{name: value for name, value in d.items() if name != "__type__"})
                zoned.tz = zone
                return zoned
            case "solar":
                return Solar(d["event"], d["latitude"], d["longitude"])
        return super().dict_to_object(d)


class PeriodicEntry(RedBeatSchedulerEntry):  # type: ignore[misc]  # RedBeat has no hints
    """One periodic task.

    Args:
        raw_definition: as it was read; Celery makes the entry of the next run of all attributes.
        fields: RedBeat's.
    """

    def __init__(self, *args: Any, raw_definition: str = "", **fields: Any) -> None:
        self.raw_definition = raw_definition
        super().__init__(*args, **fields)

    @classmethod
    def from_key(cls, key: str, app: Celery | None = None) -> "PeriodicEntry":
        """Read an entry.

        Raises:
            KeyError: there is none, or it cannot be read: RedBeat takes it out of the schedule.
        """
        ensure_conf(app)
        definition, meta = get_redis(app).hmget(key, "definition", "meta")
        if not definition:
            raise KeyError(key)
        try:
            told = json.loads(definition, cls=Decoder)
            last = json.loads(meta, cls=Decoder) if meta else {"last_run_at": None}
            entry = cls(app=app, raw_definition=definition, **told, **last)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            _logger.error("beat: %s cannot be read: %s", key, error)  # noqa: TRY400  # whose bug it is not
            raise KeyError(key) from error
        entry.last_run_at = last["last_run_at"]  # Celery makes now of None
        return entry

    def _next_instance(
        self,
        last_run_at: Any = None,
        only_update_last_run_at: bool = False,  # noqa: FBT001, FBT002  # RedBeat's
    ) -> "PeriodicEntry":
        entry = cast("PeriodicEntry", ScheduleEntry._next_instance(self, last_run_at))  # noqa: SLF001  # past RedBeat's, which overwrites
        if only_update_last_run_at:
            entry.total_run_count = self.total_run_count
        meta = {"last_run_at": entry.last_run_at, "total_run_count": entry.total_run_count}
        self._note(meta, entry.score)
        return entry

    __next__ = next = _next_instance

    def due_in(self, seconds: float) -> None:
        """Write down when an entry is due that was looked at too early.

        Args:
            seconds: from now.
        """
        self._note(None, to_timestamp(self.app.now()) + seconds)

    def _note(self, meta: Mapping[str, Any] | None, score: float) -> None:
        body = "" if meta is None else json.dumps(meta, cls=RedBeatJSONEncoder)
        keys = (self.key, self.app.redbeat_conf.schedule_key)
        get_redis(self.app).eval(NOTE_RUN, 2, *keys, self.raw_definition, body, score)
