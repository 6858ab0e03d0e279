"""Beat: RedBeat's scheduler, made to survive Redis, RabbitMQ and a colleague that takes over.

    waiting ──lock taken──► leading ──tick──► leading
       ▲                       │
       └── lock lost, Redis or RabbitMQ away ──┘   (no exit: tries again each second)

Entries are RedBeat's own, in Redis: the gateway writes the same bytes. One that was due while no
beat was leading runs once when one leads, and counts from then; `beat_cron_starting_deadline`
(seconds) drops a crontab's run that is later than that.
"""

import json
import logging
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.connection import Connection
from redbeat.schedulers import RedBeatScheduler, get_redis
from redis.exceptions import RedisError, ResponseError
from redis.lock import Lock

from penstock.looper import Faults, plain_line
from penstock.wire.headers import COPY_HEADER, TENANT_HEADER
from penstock.wire.redis_url import without_login
from penstock.wire.schedules import BEAT_KEY, BEAT_SILENT_S, PREFIX, tenant_and_name
from penstock.worker import tracing
from penstock.worker.beat.liveness import touch
from penstock.worker.beat.schedule_entries import PeriodicEntry
from penstock.worker.beat.seeds import Seeds
from penstock.worker.beat.unpublished import Unpublished, chain, reason
from penstock.worker.messages.amqp import Producer

LOCK_TIMEOUT_S = 5
"""After a `kill -9` of the leader another beat leads within this time (RedBeat: 1,500)."""

LOOP_INTERVAL_S = 1
"""The most between two looks at the schedule; the lock is renewed at each."""

RENEWALS = 5
"""How often the lock is renewed within its time, however long one look at the schedule takes."""

BROKER_WAIT_S = 3
"""For a connection to RabbitMQ, and for a confirm: each is shorter than the lock's time."""

UNREADABLE_WAIT_S = 60
"""Between two looks at an entry that cannot be read."""

CLOCK_STEP_S = 1.0
"""A change of the clock against the monotonic one by more than this is a step, and no drift."""

BEAT_SETTINGS: Mapping[str, Any] = {
    "beat_scheduler": "penstock.worker.beat.schedule:Scheduler",
    "beat_max_loop_interval": LOOP_INTERVAL_S,
    "redbeat_lock_timeout": LOCK_TIMEOUT_S,
    "redbeat_redis_options": {"socket_timeout": 3, "socket_connect_timeout": 3},
}
"""Celery settings of beat that are policy."""

_RUNS = uuid.UUID("5c3f7a52-9d0e-4c0f-8f4b-2f6f1f6d1c11")
"""Namespace of the task ids of periodic runs."""

_logger = logging.getLogger("celery.beat")


class Scheduler(RedBeatScheduler):  # type: ignore[misc]  # RedBeat has no hints
    """RedBeat with five differences.

    1. RedBeat dies with Redis, and RabbitMQ away blocks it beyond its lock; this one waits, holding
       nothing, and leads again afterwards.
    2. RedBeat takes the lock in a signal handler that never gives up, and writes the shipped
       entries before it has it. Here both happen in `tick`, in that order.
    3. RedBeat overwrites and revives the entries of `beat_schedule` at each start. Here what was
       edited or deleted over HTTP stays as it is (seeds.py).
    4. RedBeat advances an entry before it publishes, so that a failed publish is a lost run. Here
       the confirm comes first, and an unconfirmed run is published again: at least once.
    5. RedBeat keeps when an entry is due in whole seconds, and removes what it cannot read. Here
       the calendar's own time counts (schedule_entries.py), worked out again for every entry when a
       beat begins to lead and when the clock was set.
    """

    Entry = PeriodicEntry

    def __init__(self, app: Celery, **options: Any) -> None:
        if not app.conf.get("redbeat_redis_url"):
            app.conf.update(redbeat_redis_url=app.redis_url, redbeat_redis_use_ssl=None)
        tracing.begin_if_configured(app, tracing.BEAT_SERVICE)
        super().__init__(app, Producer=Producer, **options)
        self._health_file: Path | None = app.conf.penstock_health_file
        # Celery's option is an upper bound; a longer sleep would lose the lock each time.
        self.max_interval: float = min(float(app.conf.beat_max_loop_interval), LOOP_INTERVAL_S)
        self._lock_key: str = app.redbeat_conf.lock_key
        self.lock_key = (
            None  # so that RedBeat's signal handler and its `close` leave the lock to us
        )
        self._lock: Lock | None = None
        self._renewed_at = 0.0
        self._planned = False
        self._seeds = Seeds(app)
        self._clock = _clock()
        self._unpublished = Unpublished()
        self._is_broker_away = False
        self._ticking = False
        self.faults = Faults("beat", expected=(RedisError,), tell=_say)
        """What is wrong with its ticks."""

    def setup_schedule(self) -> None:
        """Do nothing: this runs before the lock is ours, and Redis may be away."""

    def tick(self, **_: Any) -> float:
        """Publish what is due, if this beat leads; never raise for a server that is away.

        Returns:
            Seconds to sleep.
        """
        self._ticking = True
        try:
            lock = self._lead()
            if lock is None:
                self.faults.well()
                touch(self._health_file)
                return float(self.max_interval)
            self._say_alive()
            self._plan(lock)
            self._is_broker_away = False
            waits = [self._fire_when_due(entry, lock) for entry in self._entries(lock)]
            touch(self._health_file)
        except RedisError as error:
            self.faults.failed(error)
            if not isinstance(error, ResponseError):  # after an answer the lock is still ours
                self._lock = None
            return float(self.max_interval)
        except Exception as error:  # noqa: BLE001  # Celery would end beat
            self.faults.failed(error)
            self._disconnect()
            return float(self.max_interval)
        except BaseException:  # SIGTERM: whatever was being read or written is lost
            self._disconnect()
            raise
        finally:
            self._ticking = False
        self.faults.well()
        return float(min([*waits, self.max_interval]))

    def close(self) -> None:
        """Give the lock back, so that another beat leads at once.

        Celery's handler of SIGTERM calls this wherever the signal finds us, and raises SystemExit.
        In the middle of a tick the connections are in use and closing them would fail instead:
        then nothing is done here, and Celery calls again when the exit has ended the tick.
        """
        if self._ticking:
            return
        lock, self._lock = self._lock, None
        if lock is not None:
            try:
                lock.release()
            except RedisError as error:
                _logger.warning("beat: lock left to expire: %s", error)
        super().close()

    @property
    def info(self) -> str:
        """Return lines for the banner, like RedBeat's."""
        return (
            f"       . redis -> {without_login(self.app.redbeat_conf.redis_url)}\n"
            f"       . lock -> {self._lock_key} ({self.lock_timeout} s)"
        )

    def _lead(self) -> Lock | None:
        """Renew the lock, or try to take it; None while another beat has it."""
        if self._lock is not None:
            self._renew(self._lock)
            return self._lock
        lock = Lock(get_redis(self.app), self._lock_key, timeout=self.lock_timeout)
        if not lock.acquire(blocking=False):
            return None
        _logger.info("beat: leading")
        self._lock, self._renewed_at = lock, time.monotonic()
        self._planned = False
        return lock

    def _renew(self, lock: Lock) -> None:
        """Give the lock its whole time again.

        Raises:
            LockNotOwnedError: a RedisError; it ran out, and another beat may lead.
        """
        lock.extend(int(lock.timeout or LOCK_TIMEOUT_S), replace_ttl=True)
        self._renewed_at = time.monotonic()

    def _keep(self, lock: Lock) -> None:
        """Stay the leader, and show it, in the middle of a long look.

        Raises:
            LockNotOwnedError: a RedisError; it ran out, and another beat may lead.
        """
        if time.monotonic() - self._renewed_at >= self.lock_timeout / RENEWALS:
            self._renew(lock)
            self._say_alive()

    def _say_alive(self) -> None:
        touch(self._health_file)
        sign = {"at": time.time(), "host": socket.gethostname()}
        get_redis(self.app).set(BEAT_KEY, json.dumps(sign), ex=4 * BEAT_SILENT_S)

    def _plan(self, lock: Lock) -> None:
        """Work out when each entry is due: at first, and after the clock was set.

        Those that are never due are not read: who changes one says when it is due.
        """
        clock, before = _clock(), self._clock
        if self._planned and abs(clock - before) < CLOCK_STEP_S:
            return
        if self._planned:
            _logger.warning("beat: the clock was set by %+.1f s", clock - before)
        else:
            self._seeds.sow(lambda: self._keep(lock))
        for entry in self._read("+inf", lock):
            entry.plan()
        self._planned, self._clock = True, clock

    def _entries(self, lock: Lock) -> Iterator[PeriodicEntry]:
        """Read what is due, and what will be before the next look."""
        return self._read(time.time() + self.max_interval, lock)

    def _read(self, until: float | str, lock: Lock) -> Iterator[PeriodicEntry]:
        """Read what is due by then, however long the reader takes for each entry."""
        client, schedule_key = get_redis(self.app), self.app.redbeat_conf.schedule_key
        for key in client.zrangebyscore(schedule_key, 0, until):
            self._keep(lock)
            try:
                yield self.Entry.from_key(key, app=self.app)
            except KeyError:
                client.zrem(schedule_key, key)
            except ValueError as error:
                _logger.error("beat: %s cannot be read: %s", key, error)  # noqa: TRY400  # whose bug it is not
                client.zadd(schedule_key, {key: time.time() + UNREADABLE_WAIT_S}, xx=True)

    def _fire_when_due(self, entry: PeriodicEntry, lock: Lock) -> float:
        now = self.app.now()
        try:
            is_due, next_s = entry.is_due()
            if not is_due and (next_s is None or next_s > self.max_interval):
                # Who wrote it could not compute when it is due, or switched it off.
                entry.plan()
            elif is_due and self._is_too_late(entry):
                _logger.warning("beat: %s is too late for its last time", entry.name)
                entry.skip(now)
            elif is_due and not self._is_broker_away:
                producer = self._connected()
                self._renew(lock)
                entry.options = attempt_options(entry)  # of this object only; it is not saved
                self.apply_async(entry, producer=producer, advance=False)
                entry.ran(now)
                self._unpublished.published(entry)
                _logger.info("beat: published %s (%s)", entry.name, entry.task)
        except RedisError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever one entry or the broker does, beat lives
            self._not_published(entry, error)
            return float(self.max_interval)
        return float(next_s or self.max_interval)

    def _connected(self) -> Producer:
        """Return the producer; connects, which can take longer than the lock lasts."""
        try:
            producer: Producer = self.producer
        except Exception:
            self._is_broker_away = True  # until the next look; each try takes its time
            raise
        return producer

    def _not_published(self, entry: PeriodicEntry, error: Exception) -> None:
        """Try it again: later, or where there is no connection as soon as there is one."""
        if any(isinstance(one, self.connection.connection_errors) for one in chain(error)):
            self._disconnect()
        wait_s = self._unpublished.failed(entry, error, tried=not self._is_broker_away)
        if wait_s:
            entry.put_off(wait_s, reason(error))

    def _is_too_late(self, entry: PeriodicEntry) -> bool:
        deadline_s = self.app.conf.beat_cron_starting_deadline
        return deadline_s is not None and entry.missed_by_more_than(float(deadline_s))

    def _ensure_connected(self) -> Connection:
        connection: Connection = self.connection.ensure_connection(
            max_retries=1, timeout=BROKER_WAIT_S
        )
        return connection

    def _disconnect(self) -> None:
        """Forget the connection, and the producer that was made on it."""
        self.__dict__.pop("producer", None)
        connection = self.__dict__.pop("connection", None)
        if connection is not None:
            _ignore_errors(connection.collect)


def attempt_options(entry: PeriodicEntry) -> dict[str, Any]:
    """Return the publishing options of one attempt at the next run of an entry.

    An attempt that was not confirmed may have arrived all the same: the next one carries the same
    task id and another `x-penstock-copy`, and the worker starts only one of them.
    """
    tenant, _ = tenant_and_name(entry.key.removeprefix(PREFIX))
    headers = {
        **entry.options.get("headers", {}),
        TENANT_HEADER: tenant,
        COPY_HEADER: uuid.uuid4().hex,
    }
    options = {
        **entry.options,
        "headers": headers,
        "retry": False,
        "confirm_timeout": BROKER_WAIT_S,
    }
    if entry.last_run_at is not None:  # a first run has nothing that tells it from another first
        run = f"{entry.name}\n{entry.last_run_at.isoformat()}"
        options["task_id"] = str(uuid.uuid5(_RUNS, run))
    return options


def _clock() -> float:
    """Return how far the clock is from the monotonic one; it changes when the clock is set."""
    return time.time() - time.monotonic()


def _say(
    logger: logging.Logger,
    level: int,
    event: str,
    fields: dict[str, Any],
    error: BaseException | None,
) -> None:
    words = "beat: not leading" if event == "loop-failed" else "beat: well again"
    plain_line(logger, level, words, fields, error)


def _ignore_errors(close: Callable[[], object]) -> None:
    try:
        close()
    except Exception as error:  # noqa: BLE001 -- it is broken already
        _logger.debug("beat: closing a broken connection: %s", error)
