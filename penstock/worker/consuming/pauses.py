"""Paused queues: this worker consumes none of them, and holds what it had been sent before.

    hash penstock:paused   field <queue>   who paused it, and when (`penstock.wire.pauses`)

The start script decides: no delivery of a paused queue starts, whatever this process knows yet.
What it refuses waits here, unacknowledged and without a slot, and is executed once the queue is
resumed. A connection that is lost takes it along, and the broker keeps it.

    delivered ─► start script ── start ──────────────────────────────► runs
                     ▲      └─ paused ─► held ── queue is resumed ─┐
                     └───────────────────────────────────────────── ┘
"""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker import state as worker_state
from redis import Redis
from redis.exceptions import RedisError

from penstock.looper import ThreadLooper
from penstock.wire.pauses import PAUSED_KEY
from penstock.worker.consuming import flow

LOOK_S = 1.0
"""How soon a worker stops to consume a queue that was paused, or goes on with one resumed."""

_logger = logging.getLogger(__name__)
_held: dict[Any, None] = {}
"""Requests of this worker, in the order in which they came: a worker is a process."""


def hold(request: Any) -> None:
    """Keep a delivery that may not start now; from any thread of a pool.

    Args:
        request: Celery's, whose slot is free again.
    """
    worker_state.active_requests.discard(request)
    worker_state.total_count[request.name] -= 1  # it did not begin
    worker_state.all_total_count[0] -= 1
    flow.started[_queue_of(request)] -= 1
    request.time_start = request.worker_pid = None
    _held[request] = None


class Pauses:
    """Looks which queues are paused, and has the consumer act on it.

    Args:
        client: Redis.
        consumer: Celery's: it is called on its own thread alone.
    """

    def __init__(self, client: Redis, consumer: Any) -> None:
        self._client = client
        self._consumer = consumer
        self._paused: frozenset[str] = frozenset()
        self._left: set[str] = set()
        """Queues that this worker would consume if they were not paused."""
        self._looper = ThreadLooper("pauses", self._turn, interval_s=LOOK_S, expected=(RedisError,))

    def __repr__(self) -> str:
        """Show what is paused, and how much is held."""
        return f"<Pauses {sorted(self._paused)}, {len(_held)} held>"

    def begin(self) -> None:
        """Leave out what is paused; called before the worker consumes.

        Without Redis the worker consumes everything, and starts nothing: the start script waits.
        """
        try:
            self._paused = self._read()
        except RedisError as error:
            _logger.warning("paused queues not read: %r", error)
        self._leave()
        if not self._looper.alive:
            self._looper.start()

    def forget(self) -> None:
        """Forget what is held: its connection is lost, and the broker delivers it again."""
        _held.clear()

    def _read(self) -> frozenset[str]:
        names: Any = self._client.hkeys(PAUSED_KEY)
        return frozenset(one.decode() if isinstance(one, bytes) else one for one in names)

    def _turn(self) -> None:
        paused = self._read()
        if paused != self._paused or any(_queue_of(one) not in paused for one in list(_held)):
            self._paused = paused
            self._soon(self._act)

    def _soon(self, call: Callable[[], None]) -> None:
        self._consumer.call_soon(call)

    def _act(self) -> None:
        """Do what the pauses ask for; on the consumer's thread."""
        self._leave()
        self._come_back()
        for request in [one for one in list(_held) if _queue_of(one) not in self._paused]:
            del _held[request]
            self._consumer.on_task_request(request)

    def _leave(self) -> None:
        consumes = self._consumer.task_consumer
        if consumes is None:
            return
        named = self._consumer.app.layout.named
        for queue in sorted({named(one.name) for one in consumes.queues} & self._paused):
            _logger.warning("paused: queue=%s", queue)
            self._left.add(queue)
            self._consumer.cancel_task_queue(queue)

    def _come_back(self) -> None:
        if self._consumer.task_consumer is None:
            return
        for queue in sorted(self._left - self._paused):
            _logger.warning("resumed: queue=%s", queue)
            self._left.discard(queue)
            self._consumer.add_task_queue(queue)


def _queue_of(request: Any) -> str | None:
    queue: str | None = request.delivery_info.get("queue")
    return queue
