"""Tasks that no worker has: refused, if that is certain, before they are published in vain.

A route's pattern (`demo.*`) names more tasks than exist. One that no worker has would be accepted,
fail as NotRegistered and end among the dead letters. It is refused when

    every consumer of its queue, by the broker's count, is a live worker that announces its tasks,
    and no worker of that queue has had this one within ten minutes.

Whatever leaves a doubt accepts it: Redis or RabbitMQ away, a consumer more or less than announced
ones (stock workers announce nothing, one that was killed is announced for some seconds), a queue
without consumers, a task whose exact name stands in the layout.
"""

import asyncio
import time
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from typing import TypeVar

from gateway.access.auth import Caller
from gateway.errors import Problem
from gateway.rabbitmq.queue_depths import QueueDepths
from gateway.submitting.catalog import Catalog
from topology.entities import Route
from topology.model import Topology

Answer = TypeVar("Answer")

LOOK_INTERVAL_S = 0.05
"""Between two looks at Redis and the queues: what absent tasks cost at most."""
DOUBT_AGE_S = 0.25
"""A task that nothing is known of is accepted by a look not older than this: one that no worker has
is a 404 from the first moment of its workers on."""
_NEAR_BYTES = 80
"""Longer names are not compared: that takes time with the square of the length."""
_MOST_COMPARED = 200
_NEAR_PER_S = 20.0
_NEAR_BURST = 50.0
"""Searches for near names: in a bulk of absent tasks the first ones are enough."""
_CELERYS = "celery."


class SeemsAbsentError(Exception):
    """Nothing is known of a task, by what may be out of date: `AbsentTasks.look`, then `decide`.

    Args:
        queues: Where the task would go.
        since: Monotonic seconds: an earlier look does not count.
    """

    def __init__(self, queues: tuple[str, ...], since: float) -> None:
        super().__init__()
        self.queues = queues
        self.since = since


class AbsentTasks:
    """Decides which tasks no worker has.

    Args:
        topology: The routes.
        catalog: Knows what workers announced.
        depths: Knows how many consumers a queue has.
    """

    def __init__(self, topology: Topology, catalog: Catalog, depths: QueueDepths) -> None:
        self._topology = topology
        self._catalog = catalog
        self._depths = depths
        self._deciding = False
        self._looked_at = float("-inf")
        self._wanted: set[str] = set()
        self._looking = asyncio.Lock()
        self._searches_left = _NEAR_BURST
        self._searched_at = 0.0
        self._names: tuple[str, ...] = ()
        self._names_of: dict[str, frozenset[str]] | None = None
        self._closest = lru_cache(maxsize=256)(self._compare)

    def check(self, task: str, queues: tuple[str, ...], caller: Caller) -> None:
        """Let a task through unless no worker of its queues has it.

        Args:
            task: Its name.
            queues: Where it would go; none: to every worker.
            caller: Near names are those that it may submit.

        Raises:
            SeemsAbsentError: Look again, then `decide`.
            Problem: `unknown-task` (queued: no), in `decide` only.
        """
        having = self._catalog.workers.known.get(task)
        if having is not None and (not queues or not having.isdisjoint(queues)):
            return
        route = self._topology.route(task)
        if route is None or not _by_pattern(route) or not self._catalog.redis_answers:
            return
        if queues:
            absent = all(map(self._only_announced, queues))
        else:
            absent = having is None and bool(self._catalog.workers.consumers)
        if not self._deciding:
            now = time.monotonic()
            if absent or now - self._looked_at > DOUBT_AGE_S:
                raise SeemsAbsentError(queues, now if absent else now - DOUBT_AGE_S)
        elif absent:
            raise self._problem(task, queues, caller)

    async def surely(self, attempt: Callable[[], Answer]) -> Answer:
        """Do what checks a task, and once more after a look if nothing is known of it.

        A worker that became ready a moment ago must not be overlooked.

        Args:
            attempt: Publishes nothing.

        Raises:
            Problem: What `attempt` raises.
        """
        try:
            return attempt()
        except SeemsAbsentError as error:
            seems = error
        return await self.again(seems, attempt)

    async def again(self, seems: SeemsAbsentError, attempt: Callable[[], Answer]) -> Answer:
        """Look, and do what seemed in vain once more; see `surely`."""
        await self.look(seems)
        return self.decide(attempt)

    def decide(self, attempt: Callable[[], Answer]) -> Answer:
        """Do what checks tasks, by what is known now."""
        self._deciding = True
        try:
            return attempt()
        finally:
            self._deciding = False

    async def look(self, seems: SeemsAbsentError) -> None:
        """Count consumers and read announcements, unless that was done; failure leaves a doubt."""
        self._wanted.update(seems.queues)
        while self._looked_at < seems.since:
            async with self._looking:
                if self._looked_at < seems.since:
                    await asyncio.sleep(self._looked_at + LOOK_INTERVAL_S - time.monotonic())
                    await self._look()

    async def _look(self) -> None:
        began, queues, self._wanted = time.monotonic(), self._wanted, set()
        # In this order: a worker announces itself before it consumes.
        await self._depths.look(queues)
        await self._catalog.refresh_workers()
        self._looked_at = began

    def _problem(self, task: str, queues: tuple[str, ...], caller: Caller) -> Problem:
        near = self._near(task, queues, caller)
        where = f" of queue {' or '.join(map(repr, queues))}" if queues else ""
        hint = f"; do you mean {' or '.join(map(repr, near))}?" if near else ""
        return Problem(
            "unknown-task",
            f"no worker{where} has a task {task!r}{hint}",
            queued="no",
            members={"near": near} if near else None,
        )

    def _only_announced(self, queue: str) -> bool:
        depth = self._depths.depths.get(queue)
        announced = self._catalog.workers.consumers.get(queue, 0)
        return depth is not None and depth.consumers == announced > 0

    def _near(self, task: str, queues: tuple[str, ...], caller: Caller) -> list[str]:
        """Return up to three names of known tasks of these queues that the caller may submit."""
        now = time.monotonic()
        refilled = self._searches_left + (now - self._searched_at) * _NEAR_PER_S
        self._searches_left, self._searched_at = min(_NEAR_BURST, refilled), now
        if len(task) > _NEAR_BYTES or self._searches_left < 1:
            return []
        self._searches_left -= 1
        return [name for name in self._closest_of(task) if self._may_go(name, queues, caller)][:3]

    def _closest_of(self, task: str) -> list[str]:
        known = self._catalog.workers.known
        if known is not self._names_of:
            self._names_of = known
            self._names = tuple(
                name for name in known if not name.startswith(_CELERYS) and len(name) <= _NEAR_BYTES
            )
            self._closest.cache_clear()
        return self._closest(task)

    def _compare(self, task: str) -> list[str]:
        first, _, last = task.rpartition(".")
        likely = sorted(
            self._names, key=lambda name: (last not in name, not name.startswith(first))
        )
        return get_close_matches(task, likely[:_MOST_COMPARED], n=6, cutoff=0.5)

    def _may_go(self, name: str, queues: tuple[str, ...], caller: Caller) -> bool:
        route = self._topology.route(name)
        if route is None or not caller.may_submit(name, privileged=route.privileged):
            return False
        return not queues or not self._catalog.workers.known[name].isdisjoint(queues)


def _by_pattern(route: Route) -> bool:
    """Return whether only a pattern names the task, and the layout leaves the check on."""
    return route.announced and route.is_pattern
