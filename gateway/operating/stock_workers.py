"""Workers that announce nothing, as far as Celery's heartbeats and its remote control show them.

A heartbeat, every two seconds, has counts and versions. Pool and queues change seldom: a worker is
asked for them when it is first heard of, and every minute; one that does not answer sooner again.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Final

from gateway.errors import Problem
from gateway.operating.fleet import StockWorker
from gateway.rabbitmq.control import Control
from penstock.looper import Looper
from penstock.wire.announcements import KNOWN_FOR_S
from penstock.wire.names import BROADCAST_QUEUE_PREFIX

ASK_EVERY_S: Final = 60.0
_AGAIN_S: Final = 6.0
"""Of a worker that did not answer: it has just started, or is busy."""
LOOK_S: Final = 3.0
_MOST: Final = 10_000
"""Workers remembered; node names in heartbeats are whatever a client of RabbitMQ writes."""
_MOST_ASKED: Final = 200


class StockWorkers:
    """Remembers the workers that Celery's events show.

    Args:
        control: Asks them.
        announces: Returns whether a worker of this name announces itself.
    """

    def __init__(self, control: Control, announces: Callable[[str], bool]) -> None:
        self._control = control
        self._announces = announces
        self._workers: dict[str, StockWorker] = {}
        self._due_at: dict[str, float] = {}
        self.looper = Looper(
            "stock-workers",
            self._ask,
            interval_s=LOOK_S,
            deadline_s=30.0,
            expected=(Problem,),
        )
        """Asks for pools and queues."""

    def __repr__(self) -> str:
        """Return how many are known."""
        return f"<StockWorkers {len(self._workers)}>"

    @property
    def all(self) -> list[StockWorker]:
        """Return those that do not announce themselves."""
        return [one for name, one in self._workers.items() if not self._announces(name)]

    def hear(self, event: dict[str, Any], at: float) -> None:
        """Take an event of a worker about itself.

        Args:
            event: Celery's: `worker-online`, `worker-heartbeat`, `worker-offline`.
            at: Unix seconds.
        """
        name = event["hostname"]
        if name not in self._workers and len(self._workers) >= _MOST:
            return
        before = self._workers.get(name) or StockWorker(name=name, heard_at=at)
        if before.left:  # another start of it: what it was asked before is of no use
            self._due_at.pop(name, None)
        self._workers[name] = dataclasses.replace(
            before,
            heard_at=at,
            left=event.get("type") == "worker-offline",
            running=_count(event.get("active")),
            processed=_count(event.get("processed")),
            software=f"{event.get('sw_ident', 'celery')} {event.get('sw_ver', '')}".strip(),
        )

    async def _ask(self) -> None:
        """Ask those for pool and queues that are due.

        Raises:
            Problem: `broker-unavailable`.
        """
        now, clock = time.time(), time.monotonic()
        self._forget(now)
        due = [
            one.name
            for one in self.all
            if not one.left and clock >= self._due_at.get(one.name, clock)
        ][:_MOST_ASKED]
        if not due:
            return
        stats = dict(await self._control.ask("stats", {}, due))
        queues = dict(await self._control.ask("active_queues", {}, due))
        for name in due:
            self._due_at[name] = clock + (ASK_EVERY_S if name in stats else _AGAIN_S)
            if name in self._workers:
                self._workers[name] = dataclasses.replace(
                    self._workers[name],
                    **_pool(stats.get(name)),
                    **_queues(queues.get(name)),
                )

    def _forget(self, now: float) -> None:
        for name, one in list(self._workers.items()):
            if now - one.heard_at > 2 * KNOWN_FOR_S:
                del self._workers[name]
                self._due_at.pop(name, None)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _pool(stats: Any) -> dict[str, Any]:
    """Read what Celery's `stats` says of the pool."""
    pool = stats.get("pool") if isinstance(stats, dict) else None
    if not isinstance(pool, dict):
        return {}
    words = str(pool.get("implementation", "")).partition(":")[0].split(".")
    name = {"thread": "threads"}.get(words[-1], words[-1])
    return {"pool": name or None, "concurrency": _count(pool.get("max-concurrency"))}


def _queues(found: Any) -> dict[str, Any]:
    """Read what Celery's `active_queues` says."""
    if not isinstance(found, list):
        return {}
    names = [str(one.get("name")) for one in found if isinstance(one, dict)]
    return {"queues": tuple(n for n in names if not n.startswith(BROADCAST_QUEUE_PREFIX))}
