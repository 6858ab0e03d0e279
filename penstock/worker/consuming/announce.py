"""What this worker announces in Redis, alive by heartbeat: its tasks, and itself with its queues.

Gateways check arguments by the tasks, and refuse a task that no consumer of its queue has.
"""

import json
import logging
import platform
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import celery
from celery import Celery
from celery.signals import worker_shutdown
from redis import Redis
from redis.exceptions import RedisError

from penstock import VERSION
from penstock.looper import Faults, plain_line
from penstock.wire.announcements import (
    CATALOG_KEY,
    CATALOG_REFRESH_S,
    WORKER_REFRESH_S,
    WorkerRecord,
)
from penstock.worker.consuming.presence import Presence, Queues, Work
from penstock.worker.consuming.signatures import Described, describe
from penstock.worker.redis_client import sync_client
from penstock.worker.running.task import PenstockTask

RETRY_S = 1.0
"""Between attempts while Redis is away."""

FIRST_WITHIN_S = 3.0
"""How long a worker waits for its first announcement before it consumes: without Redis it consumes
all the same, and gateways refuse nothing."""

LEAVE_WITHIN_S = 5.0
"""How long a worker that stops tries to say so while Redis is away: one that cannot is taken for
silent, until somebody else has its node name."""
_LEAVE_AGAIN_S = 0.2

_PEER_S = 2.5 * CATALOG_REFRESH_S
"""Another worker wrote the same entry this lately: it is still announced when we leave."""

_logger = logging.getLogger(__name__)


class Announcer:
    """Announces in a thread of the worker's main process, which every pool has.

    A thread and not a task of the worker: it must neither wait for a free slot nor hold one.

    Args:
        client: Redis.
        described: the tasks of the catalog.
        presence: of the worker; None: its tasks alone are announced.
        refresh_s: how often the catalog is written; seconds.
    """

    def __init__(
        self,
        client: Redis,
        described: Sequence[Described],
        presence: Presence | None = None,
        refresh_s: float = CATALOG_REFRESH_S,
    ) -> None:
        self._client = client
        self._described = tuple(described)
        self._presence = presence
        self._refresh_s = refresh_s
        self._refresh_at = 0.0
        self._written: dict[str, str] = {}
        self._peer_seen_at: dict[str, float] = {}
        self._changed = threading.Event()
        self._announced = threading.Event()
        self._leaving = False
        self._leave_until = 0.0
        self._thread: threading.Thread | None = None
        self.faults = Faults("announce", RETRY_S, (RedisError,), plain_line)
        """What is wrong with it."""

    def __repr__(self) -> str:
        """Tell how many tasks, and whether they are announced."""
        return f"<Announcer {len(self._described)} tasks, {len(self._written)} announced>"

    def announce(self, timeout_s: float = FIRST_WITHIN_S) -> bool:
        """Announce what is so now, and go on to; to be called before the worker consumes.

        Args:
            timeout_s: how long to wait for Redis.

        Returns:
            Whether it is announced; if not, attempts go on.
        """
        self._announced.clear()
        self._changed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="announce", daemon=True)
            self._thread.start()
        return self._announced.wait(timeout_s)

    def changed(self) -> None:
        """Announce soon that the worker consumes other queues than before."""
        self._changed.set()

    def stop(self, timeout_s: float = LEAVE_WITHIN_S) -> None:
        """Say that the worker leaves, and remove the entries that no other worker announces.

        Args:
            timeout_s: how long to wait for Redis.
        """
        self._leave_until = time.monotonic() + timeout_s
        self._leaving = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def refresh(self) -> None:
        """Write every entry once.

        Raises:
            RedisError: Redis is away.
        """
        now = time.time()
        entries = {one.field: encode(one, now) for one in self._described}
        if not entries:
            return
        before = self._client.hmget(CATALOG_KEY, list(entries))
        for field, found in zip(entries, before, strict=True):
            if found is not None and _text(found) != self._written.get(field, _text(found)):
                self._peer_seen_at[field] = time.monotonic()
        self._client.hset(CATALOG_KEY, items=[part for entry in entries.items() for part in entry])
        self._written = entries

    def withdraw(self) -> None:
        """Remove the entries that are ours alone.

        Workers with the same code share an entry. Removing one that another worker keeps alive
        would switch argument checks off until its next refresh.

        Raises:
            RedisError: Redis is away; the entries die by themselves.
        """
        recently = time.monotonic() - _PEER_S
        for field, written in self._written.items():
            shared = self._peer_seen_at.get(field, recently) > recently
            if not shared and _text(self._client.hget(CATALOG_KEY, field)) == written:
                self._client.hdel(CATALOG_KEY, field)
        self._written = {}

    def _run(self) -> None:
        while not self._leaving:
            # Cleared first: what changes while this writes is written again.
            self._changed.clear()
            try:
                wait_s = self._write()
            except BaseException as error:  # noqa: BLE001  # nothing may end this thread silently
                self.faults.failed(error)
                wait_s = self.faults.wait_s() or RETRY_S
            else:
                self.faults.well()
                self._announced.set()
            self._changed.wait(wait_s)
        while not self._left() and time.monotonic() + _LEAVE_AGAIN_S < self._leave_until:
            time.sleep(_LEAVE_AGAIN_S)

    def _left(self) -> bool:
        """Whether it is known that the worker leaves."""
        try:
            if self._presence is not None:
                self._presence.leave()
            self.withdraw()
        except BaseException as error:  # noqa: BLE001  # what is left expires
            self.faults.failed(error)
            return False
        return True

    def _write(self) -> float:
        """Write what is due; the seconds until something is again."""
        if self._presence is not None:
            self._presence.refresh()
        now = time.monotonic()
        if now >= self._refresh_at:
            self.refresh()
            self._refresh_at = now + self._refresh_s
        left_s = self._refresh_at - now
        return left_s if self._presence is None else min(left_s, WORKER_REFRESH_S)


def encode(described: Described, seen: float) -> str:
    """Return the value of the catalog's hash: the entry, and when it was last alive."""
    return json.dumps({**described.entry, "seen": seen}, separators=(",", ":"))


def announcer_of(
    app: Celery,
    worker: str,
    queues: Queues,
    pool: Any,
    work: Work,
    well_at: Callable[[], float] = time.time,
) -> Announcer:
    """Return what announces a worker of this application; it stops when the worker shuts down.

    Args:
        app: a `Penstock`.
        worker: the node name.
        queues: returns what it consumes at the moment; None: nothing.
        pool: its pool.
        work: the slots of the pool.
        well_at: returns when the loops of the worker last went round, unix seconds.
    """
    client = sync_client(app.redis_url)
    record = WorkerRecord(
        worker=worker,
        start=uuid.uuid4().hex[:12],
        queues=(),
        tasks=tuple(sorted(app.tasks)),
        seen=0,
        pool=pool_name(type(pool)),
        software=(
            f"penstock {VERSION}, celery {celery.__version__}, python {platform.python_version()}"
        ),
    )
    described = [
        describe(task.name, task.authored, VERSION, vars(type(task))["__doc__"])
        for task in app.tasks.values()
        if isinstance(task, PenstockTask) and task.authored is not None
    ]
    announcer = Announcer(client, described, Presence(client, record, queues, work, well_at))
    worker_shutdown.connect(lambda **_: announcer.stop(), weak=False, dispatch_uid="withdraw")
    return announcer


def pool_name(pool: type) -> str:
    """Return what people call a pool: the name of its option, `asyncio` for ours."""
    *_, package, module = pool.__module__.split(".")
    name = module if package == "concurrency" else package
    return {"thread": "threads", "asyncio_pool": "asyncio"}.get(name, name)


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
