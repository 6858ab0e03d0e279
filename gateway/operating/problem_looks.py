"""Looks every few seconds for what is wrong."""

import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Mapping
from typing import Any, Final

from gateway.history.client import HistoryAwayError, HistoryClient, QueryRefusedError
from gateway.history.rows import Status
from gateway.operating.document_problems import of_documents
from gateway.operating.fleet import Worker
from gateway.operating.pauses import Pauses
from gateway.operating.problems import (
    AFTER_S,
    BY_RABBITMQ,
    BY_REDIS,
    GROWING_OVER_S,
    Finding,
    Known,
    ProblemWatch,
    QueueFacts,
    RunningFacts,
    of_history,
    of_queues,
    of_refusal,
    of_servers,
    of_tasks,
    of_workers,
)
from gateway.operating.queue_flows import QueueFlows
from gateway.operating.workers import Workers
from gateway.rabbitmq.queue_depths import QueueDepths
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from gateway.states.reading import States
from gateway.telemetry.log import hide_secrets
from penstock.looper import Looper
from penstock.wire.announcements import SILENT_AFTER_S
from penstock.wire.document_troubles import TROUBLES_KEY, decode_troubles
from penstock.wire.history_queries import STATUS
from topology.model import Topology

LOOK_S: Final = 5.0
_MOST_TASKS: Final = 100
"""Tasks of one worker that are looked at, those first that began first."""

Scheduling = Callable[[], Awaitable[tuple[bool, bool]]]
"""Returns whether a scheduler leads, and whether there are schedules."""


class ProblemLooks:
    """Finds problems, and keeps them for requests and metrics.

    Args:
        topology: The queues.
        redis: Tells whether it stores, and how full it is.
        depths: Of the queues.
        flows: How they move.
        pauses: Which of them are meant not to.
        workers: Who there is, and what runs there.
        states: What became of that.
        scheduling: Asks about schedules.
        history: Says how far it is behind, if there is one.
    """

    def __init__(
        self,
        *,
        topology: Topology,
        redis: RedisClient,
        depths: QueueDepths,
        flows: QueueFlows,
        pauses: Pauses,
        workers: Workers,
        states: States,
        scheduling: Scheduling,
        history: HistoryClient,
    ) -> None:
        self._topology = topology
        self._redis = redis
        self._depths = depths
        self._flows = flows
        self._pauses = pauses
        self._workers = workers
        self._states = states
        self._scheduling = scheduling
        self._history = history
        self._watch = ProblemWatch()
        self._paused: Mapping[str, object] = {}
        self.scheduler: bool | None = None
        """Whether a scheduler runs; None: not known."""
        self._stores_since: float | None = -math.inf
        """Since when Redis stores, monotonic seconds; None: it does not."""
        self._dead: dict[str, deque[tuple[float, int]]] = {}
        self.looper = Looper(
            "problems", self._look, interval_s=LOOK_S, deadline_s=30.0, expected=(RedisAwayError,)
        )
        """Looks."""

    def __repr__(self) -> str:
        """Show the findings."""
        return f"<ProblemLooks {self._watch!r}>"

    @property
    def now(self) -> list[Known]:
        """What is wrong now."""
        return self._watch.problems

    @property
    def redis_stores(self) -> bool:
        """Whether Redis stored what it was sent, the last time it was tried."""
        return self._stores_since is not None

    async def _look(self) -> None:
        """Look at everything.

        While Redis refuses to store, workers and beat cannot say that they live, and no task
        begins: what they seem to be then is left out, and was not looked for until they have had
        the time to say so again.

        Raises:
            RedisAwayError: What was found before stands, but for what RabbitMQ alone tells; /readyz
                says what is away.
        """
        now = time.time()
        try:
            memory = await self._probe()
            findings = [one async for one in self._findings(memory, now)]
        except RedisAwayError as error:
            queues = list(of_queues(self._queues(self._paused)))
            if not error.refuses:
                self._watch.take(queues, now, BY_RABBITMQ)
                raise
            self.scheduler = None
            found = [of_refusal(hide_secrets(error.told)), *queues, *await self._of_history()]
            seen = [one for one in found if one.code not in BY_REDIS]
            self._watch.take(seen, now, AFTER_S.keys() - {"redis-memory"})
            return
        self._watch.take(findings, now, AFTER_S.keys() - self._not_known_yet)

    async def _probe(self) -> Mapping[str, Any]:
        """Find out whether Redis stores, and since when."""
        try:
            memory = await self._redis.probe()
        except RedisAwayError:
            self._stores_since = None
            raise
        if self._stores_since is None:
            self._stores_since = time.monotonic()
        return memory

    @property
    def _not_known_yet(self) -> frozenset[str]:
        """Codes of those who have not had the time yet to write into a Redis that is back."""
        since = self._stores_since
        known = since is not None and time.monotonic() - since >= SILENT_AFTER_S
        return frozenset() if known else BY_REDIS

    async def _findings(self, memory: Mapping[str, Any], now: float) -> AsyncIterator[Finding]:
        self._paused = await self._pauses.read() or {}
        workers = await self._workers.all()
        beat_leads, schedules = await self._scheduling()
        self.scheduler = beat_leads
        running = [look async for look in self._running(workers, now)]
        troubles = decode_troubles((await self._redis.hgetall(TROUBLES_KEY)).values())
        bounds = {name: int(memory.get(name) or 0) for name in ("used_memory", "maxmemory")}
        for found in (
            of_queues(self._queues(self._paused)),
            of_workers(workers, now),
            of_tasks(running),
            of_documents(troubles, now),
            of_servers(memory=bounds, beat_leads=beat_leads, schedules=schedules),
            await self._of_history(),
        ):
            for one in found:
                yield one

    async def _of_history(self) -> list[Finding]:
        if not self._history.configured:
            return []
        lag_s = None
        with contextlib.suppress(HistoryAwayError, QueryRefusedError):  # the client knows of it
            lag_s = (await self._history.ask(STATUS, {}, Status)).lag_s
        away_since = self._history.away_since
        away_s = None if away_since is None else time.monotonic() - away_since
        return list(of_history(lag_s, away_s))

    def _queues(self, paused: Container[str]) -> Iterator[QueueFacts]:
        now = time.monotonic()
        for name in self._topology.queues:
            depth, flow = self._depths.depths.get(name), self._flows.of(name)
            if depth is None:
                continue
            dead, before = self._letters(name, now)
            yield QueueFacts(
                name=name,
                ready=depth.ready,
                consumers=depth.least_consumers,
                paused=name in paused,
                idle_s=None if flow is None else flow.idle_s,
                dead=dead,
                dead_before=before,
            )

    def _letters(self, queue: str, now: float) -> tuple[int | None, int | None]:
        """Return how many dead letters a queue has, and had a while ago."""
        depth = self._depths.depths.get(self._topology.dead_queue(queue))
        if depth is None or not self._topology.queues[queue].dead_letter:
            return None, None
        past = self._dead.setdefault(queue, deque())
        past.append((now, depth.ready))
        while len(past) > 2 and past[1][0] <= now - GROWING_OVER_S:
            past.popleft()
        return depth.ready, past[0][1]

    async def _running(self, workers: list[Worker], now: float) -> AsyncIterator[RunningFacts]:
        """Give what runs, or was left by workers that are silent."""
        for worker in workers:
            if not worker.announces or worker.status == "gone":
                continue
            silent = worker.status == "silent"
            tasks = (await self._workers.announced(worker.name))[:_MOST_TASKS]
            wanted = [
                one
                for one in tasks
                if silent or (one.limit_s is not None and now - one.start > one.limit_s)
            ]
            if not wanted:
                continue
            states = await self._states.read({one.task_id: None for one in wanted})
            for one in wanted:
                state = states[one.task_id]
                if state.final or state.code is not None:
                    continue
                elsewhere = state.worker not in {None, worker.name}
                if silent and (elsewhere or now - worker.last_heard_at < SILENT_AFTER_S):
                    continue
                yield RunningFacts(
                    task_id=one.task_id,
                    task=one.task,
                    worker=worker.name,
                    for_s=now - one.start,
                    limit_s=one.limit_s,
                    silent=silent,
                )
