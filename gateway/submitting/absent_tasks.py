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
from typing import TypeVar

from gateway.access.auth import Caller
from gateway.errors import Problem
from gateway.rabbitmq.queue_depths import QueueDepths
from gateway.submitting.catalog import Catalog
from gateway.submitting.near_names import NEAR, NearNames, meant
from topology.model import Topology
from topology.route import Route

Answer = TypeVar("Answer")

LOOK_INTERVAL_S = 0.05
"""Between two looks at Redis and the queues: what absent tasks cost at most."""
DOUBT_AGE_S = 0.25
"""A task that nothing is known of is accepted by a look that ended not longer ago, in vain or not:
one that no worker has is a 404 from the first moment of its workers on, and while RabbitMQ does not
answer, tasks do not wait for it one by one."""


class SeemsAbsentError(Exception):
    """Nothing is known of a task, by what may be out of date: `AbsentTasks.look`, then `decide`.

    Args:
        queues: Where the task would go.
        begun_at: Monotonic seconds: a look that began earlier does not count.
        ended_at: Nor one that ended before this.
    """

    def __init__(self, queues: tuple[str, ...], *, begun_at: float, ended_at: float) -> None:
        super().__init__()
        self.queues = queues
        self.begun_at = begun_at
        self.ended_at = ended_at


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
        self._began_at = self._ended_at = float("-inf")
        """The last look, monotonic seconds."""
        self._wanted: set[str] = set()
        self._looking = asyncio.Lock()
        self._names = NearNames()
        self._names_of: dict[str, frozenset[str]] | None = None

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
            doubtful_from = now - DOUBT_AGE_S
            if absent:  # a worker may have come since the last look began
                raise SeemsAbsentError(queues, begun_at=now, ended_at=now)
            if self._ended_at < doubtful_from:
                raise SeemsAbsentError(queues, begun_at=float("-inf"), ended_at=doubtful_from)
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
        while self._is_older(seems):
            async with self._looking:
                if self._is_older(seems):
                    await asyncio.sleep(self._began_at + LOOK_INTERVAL_S - time.monotonic())
                    await self._look()

    def _is_older(self, seems: SeemsAbsentError) -> bool:
        """Return whether the last look does not count."""
        return self._began_at < seems.begun_at or self._ended_at < seems.ended_at

    async def _look(self) -> None:
        began, queues, self._wanted = time.monotonic(), self._wanted, set()
        # In this order: a worker announces itself before it consumes.
        await self._depths.look(queues)
        await self._catalog.refresh_workers()
        self._began_at, self._ended_at = began, time.monotonic()

    def _problem(self, task: str, queues: tuple[str, ...], caller: Caller) -> Problem:
        near = self._near(task, queues, caller)
        where = f" of queue {' or '.join(map(repr, queues))}" if queues else ""
        return Problem(
            "unknown-task",
            f"no worker{where} has a task {task!r}{meant(near)}",
            queued="no",
            members={"near": near} if near else None,
        )

    def _only_announced(self, queue: str) -> bool:
        depth = self._depths.depths.get(queue)
        announced = self._catalog.workers.consumers.get(queue, 0)
        return depth is not None and depth.consumers == announced > 0

    def _near(self, task: str, queues: tuple[str, ...], caller: Caller) -> list[str]:
        """Return up to three names of known tasks of these queues that the caller may submit."""
        known = self._catalog.workers.known
        if known is not self._names_of:
            self._names_of = known
            self._names.take(known)
        return [name for name in self._names.of(task) if self._may_go(name, queues, caller)][:NEAR]

    def _may_go(self, name: str, queues: tuple[str, ...], caller: Caller) -> bool:
        route = self._topology.route(name)
        if route is None or not caller.may_submit(name, privileged=route.privileged):
            return False
        return not queues or not self._catalog.workers.known[name].isdisjoint(queues)


def _by_pattern(route: Route) -> bool:
    """Return whether only a pattern names the task, and the layout leaves the check on."""
    return route.announced and route.is_pattern
