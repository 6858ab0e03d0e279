"""Workers: which there are, what runs there, and what they are told to do."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import Problem
from gateway.operating.fleet import Worker, workers
from gateway.operating.stock_workers import StockWorkers
from gateway.rabbitmq.control import Control
from gateway.redis.client import RedisClient
from gateway.submitting.worker_records import WorkerRecords
from penstock.wire.announcements import (
    RUNNING_PREFIX,
    WORKERS_KEY,
    RunningTask,
    decode_running,
)

log = logging.getLogger(__name__)

RECORDS_KEPT_S: Final = 1.0
"""How long records that were read are good for: all of a large fleet are megabytes, and a page asks
for many workers at once, one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a worker said to a command."""

    replied: bool
    """False: it did not answer in time; the command may be carried out yet."""
    words: str = ""
    """Its answer."""


class Workers:
    """Knows the workers, and commands them.

    Args:
        redis: Where they announce themselves.
        records: What they announced, shared with whoever checks submits.
        stock: Those that announce nothing.
        control: Celery's remote control.
    """

    def __init__(
        self, redis: RedisClient, records: WorkerRecords, stock: StockWorkers, control: Control
    ) -> None:
        self._redis = redis
        self._records = records
        self._stock = stock
        self._control = control
        self._read_at = -math.inf

    def __repr__(self) -> str:
        """Return how many announce themselves."""
        return f"<Workers {len(self._records.latest)} announced>"

    async def all(self) -> list[Worker]:
        """Return every worker, by records that were read within the last second.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        now = time.time()
        if time.monotonic() - self._read_at >= RECORDS_KEPT_S:
            self._records.take(await self._redis.hgetall(WORKERS_KEY), now)
            self._read_at = time.monotonic()
        return workers(self._records.latest, self._stock.all, now)

    async def having(self) -> dict[str, list[str]]:
        """Return the names of the live workers that have each task.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        found: dict[str, list[str]] = {}
        for one in await self.all():
            if one.announces and one.status == "online":
                for task in self._records.latest[one.name].tasks:
                    found.setdefault(task, []).append(one.name)
        return found

    async def find(self, name: str) -> Worker:
        """Return one worker.

        Raises:
            Problem: `unknown-worker`, `state-unavailable`.
        """
        for one in await self.all():
            if one.name == name:
                return one
        raise Problem("unknown-worker", f"no worker {name!r} has been heard of lately")

    async def running(self, name: str) -> list[RunningTask]:
        """Return what runs on a worker: as it announced up to 3 s ago, else as it answers.

        Raises:
            Problem: `unknown-worker`, `state-unavailable`, `broker-unavailable`.
        """
        worker = await self.find(name)
        if worker.status == "gone":
            return []
        if worker.announces:
            return await self.announced(name)
        answers = dict(await self._control.ask("active", {}, [name]))
        return _active(answers.get(name))

    async def announced(self, name: str) -> list[RunningTask]:
        """Return what a worker said last that it runs.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        value = await self._redis.get(f"{RUNNING_PREFIX}{name}")
        try:
            return [] if value is None else decode_running(value)
        except ValueError as error:
            log.warning("running-tasks-bad", extra={"worker": name, "reason": str(error)})
            return []

    async def load(self, queue: str) -> tuple[int, int, int, int]:
        """Return how many tasks of a queue run, and workers, slots and busy slots consume it.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        consuming = [
            one
            for one in await self.all()
            if one.announces and one.status == "online" and queue in (one.queues or ())
        ]
        running = 0
        for one in consuming:
            running += sum(task.queue == queue for task in await self.announced(one.name))
        slots = sum(one.concurrency or 0 for one in consuming)
        return running, len(consuming), slots, sum(one.running or 0 for one in consuming)

    async def command(self, worker: Worker, command: str, arguments: Mapping[str, Any]) -> Reply:
        """Command a worker, and wait for its answer.

        Args:
            worker: Which.
            command: Of Celery's remote control.
            arguments: Its arguments.

        Raises:
            Problem: `invalid-request`: the worker refuses; `broker-unavailable`.
        """
        answers = dict(await self._control.ask(command, arguments, [worker.name]))
        if worker.name not in answers:
            return Reply(replied=False)
        answer = answers[worker.name]
        if isinstance(answer, dict) and "error" in answer:
            raise Problem("invalid-request", f"{worker.name} refuses: {answer['error']}")
        words = answer.get("ok", answer) if isinstance(answer, dict) else answer
        return Reply(replied=True, words=str(words))

    async def shut_down(self, worker: Worker) -> Reply:
        """Have a worker stop, once what it runs has ended; a stock worker does not answer.

        Raises:
            Problem: `broker-unavailable`.
        """
        if worker.announces:
            return await self.command(worker, "penstock_shutdown", {})
        await self._control.broadcast("shutdown", {}, [worker.name])
        return Reply(replied=False)


def _active(answer: Any) -> list[RunningTask]:
    """Read what Celery's `active` says."""
    found = []
    for one in answer if isinstance(answer, list) else ():
        try:
            delivery = one.get("delivery_info") or {}
            found.append(
                RunningTask(
                    task_id=str(one["id"]),
                    task=str(one["name"]),
                    start=float(one["time_start"]),
                    queue=delivery.get("queue") or delivery.get("routing_key"),
                )
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    return found
