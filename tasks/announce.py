"""The catalog: this worker's tasks in Redis, alive by heartbeat, for whoever checks arguments."""

import json
import logging
import threading
import time
from collections.abc import Sequence

from celery.signals import worker_ready, worker_shutdown
from redis import Redis
from redis.exceptions import RedisError

from tasks.redis_client import sync_client
from tasks.registry import TaskSpec
from tasks.runtime import TaskContext
from tasks.signatures import Described, describe

CATALOG_KEY = "penstock:catalog"

REFRESH_S = 10.0
"""Readers take an entry for dead after three of these."""

RETRY_S = 1.0
"""Between attempts while Redis is away."""

_PEER_S = 2.5 * REFRESH_S
"""Another worker wrote the same entry this lately: it is still announced when we leave."""

VERSION = "0.1.0"
"""Of this code; a test holds it to pyproject.toml."""

_logger = logging.getLogger(__name__)


class Announcer:
    """Announces in a thread of the worker's main process, which every pool has.

    A thread and not a task of the worker: it must neither wait for a free slot nor hold one.
    """

    def __init__(
        self, client: Redis, described: Sequence[Described], refresh_s: float = REFRESH_S
    ) -> None:
        self._client = client
        self._described = tuple(described)
        self._refresh_s = refresh_s
        self._written: dict[str, str] = {}
        self._peer_seen_at: dict[str, float] = {}
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        """Tell how many tasks, and whether they are announced."""
        return f"<Announcer {len(self._described)} tasks, {len(self._written)} announced>"

    def start(self) -> None:
        """Begin to announce; to be called when the worker is ready."""
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End, and remove the entries that no other worker announces."""
        self._leaving.set()
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
        wait_s = 0.0
        while not self._leaving.wait(wait_s):
            try:
                self.refresh()
            except RedisError as error:
                _logger.warning("catalog not refreshed, trying again: %s", error)
                wait_s = RETRY_S
            else:
                wait_s = self._refresh_s
        try:
            self.withdraw()
        except RedisError as error:
            _logger.warning("catalog entries left to expire: %s", error)


def encode(described: Described, seen: float) -> str:
    """Return the value of the catalog's hash: the entry, and when it was last alive."""
    return json.dumps({**described.entry, "seen": seen}, separators=(",", ":"))


def announce_when_ready(specs: Sequence[TaskSpec], redis_url: str) -> None:
    """Announce these tasks from when the worker of this process is ready until it shuts down."""
    described = [describe(spec.name, spec.run, TaskContext, VERSION) for spec in specs]
    announcer = Announcer(sync_client(redis_url), described)
    worker_ready.connect(lambda **_: announcer.start(), weak=False, dispatch_uid="announce")
    worker_shutdown.connect(lambda **_: announcer.stop(), weak=False, dispatch_uid="withdraw")


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
