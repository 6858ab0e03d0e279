"""What is wrong now, found in what is known of queues, workers and servers. Pure.

A finding becomes a problem once it has been so for as long as its code says, and is one until it
is not found any more.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.operating.fleet import Worker
from penstock.wire.announcements import SILENT_AFTER_S
from penstock.wire.names import CALLBACKS_QUEUE

STALLED_AFTER_S: Final = 60.0
"""Messages ready and consumers, and nothing starts."""
FULL_FRACTION: Final = 0.8
"""Of Redis' `maxmemory`."""
GROWING_OVER_S: Final = 60.0
"""Dead letters are more than so long ago."""
RUNBOOK: Final = "docs/runbook.md"
"""A page for each code."""
BEHIND_S: Final = 30.0
"""History writes what happened so long ago."""
HISTORY_AWAY_S: Final = 15.0
"""The history process, or its MongoDB, has not answered for so long."""
_LIMITS: Final = 2.0
"""A task is stuck beyond so many times its time limit, …"""
ENDING_S: Final = 10.0
"""… and not for so long after it: it may clean up, and its end takes its time."""

AFTER_S: Final[Mapping[str, float]] = {
    "queue-without-worker": 15.0,
    "queue-stalled": 0.0,
    "worker-silent": 0.0,
    "task-stuck": 0.0,
    "beat-silent": 15.0,
    "dead-letters-growing": 0.0,
    "redis-memory": 0.0,
    "redis-refuses": 5.0,
    "history-behind": 0.0,
    "documents-waiting": 0.0,
    "documents-refused": 0.0,
}
"""How long a finding has to last; where 0, what was found says how long it has lasted."""
BY_RABBITMQ: Final = frozenset({"queue-without-worker", "dead-letters-growing"})
"""Codes of what RabbitMQ alone tells."""
BY_REDIS: Final = frozenset({
    "queue-stalled", "worker-silent", "task-stuck", "beat-silent",
    "documents-waiting", "documents-refused",
})  # fmt: skip
"""Codes of what workers and beat write into Redis, or do not begin without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong, or will be if it lasts."""

    code: str
    subject: str
    """A queue, a worker, a task, a server."""
    detail: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """What is known of a queue."""

    name: str
    ready: int
    consumers: int
    paused: bool
    idle_s: float | None
    """For how long nothing was seen to start; None: other workers consume it, and it is not
    known."""
    dead: int | None = None
    """Its dead letters."""
    dead_before: int | None = None
    """How many these were `GROWING_OVER_S` ago; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningFacts:
    """A task that a worker said it runs, and that has not ended."""

    task_id: str
    task: str
    worker: str
    for_s: float
    limit_s: float | None
    """Its hard time limit."""
    silent: bool
    """Whether its worker is, and no other has it."""


def _without_worker(queue: QueueFacts) -> Finding:
    who, advice = (
        "worker",
        (
            f"start a worker with -Q {queue.name}, or have one consume it: "
            "POST /v1/workers/{name}/consume"
        ),
    )
    if queue.name == CALLBACKS_QUEUE:
        who, advice = "gateway", "start a gateway with CALLBACK_HOSTS: no worker delivers callbacks"
    return Finding(
        code="queue-without-worker",
        subject=queue.name,
        detail=f"ready messages: {queue.ready:,}; no {who} consumes the queue",
        advice=advice,
    )


def of_queues(queues: Iterable[QueueFacts]) -> Iterator[Finding]:
    """Find queues that do not move, and those whose dead letters become more."""
    for one in queues:
        if one.ready and not one.paused:
            if not one.consumers:
                yield _without_worker(one)
            elif one.idle_s is not None and one.idle_s >= STALLED_AFTER_S:
                yield Finding(
                    code="queue-stalled",
                    subject=one.name,
                    detail=f"ready messages: {one.ready:,}, consumers: {one.consumers}; no task "
                    f"has started for {one.idle_s:.0f} s",
                    advice="look at what holds their slots: GET /v1/workers/{name}/tasks",
                )
        if one.dead is not None and one.dead_before is not None and one.dead > one.dead_before:
            yield Finding(
                code="dead-letters-growing",
                subject=one.name,
                detail=f"dead letters: {one.dead:,}, of which {one.dead - one.dead_before:,} came "
                "in the last minute",
                advice=f"read why: GET /v1/dead-letters/{one.name}; then replay or discard them",
            )


def of_workers(workers: Iterable[Worker], now: float) -> Iterator[Finding]:
    """Find workers that took no leave.

    Args:
        workers: All that there are.
        now: Unix seconds.
    """
    for one in workers:
        if one.status == "silent":
            yield Finding(
                code="worker-silent",
                subject=one.name,
                detail=f"last heard of {now - one.last_heard_at:.0f} s ago, and it took no leave",
                advice="look at its process, its machine and its network; RabbitMQ delivers again "
                "what it had, once its process has ended. The log of one that stands still says "
                "where it does",
            )


def of_tasks(running: Iterable[RunningFacts]) -> Iterator[Finding]:
    """Find tasks that no one will end."""
    for one in running:
        if one.silent:
            yield Finding(
                code="task-stuck",
                subject=one.task_id,
                detail=f"{one.task} was started by {one.worker}, which is silent for over "
                f"{SILENT_AFTER_S:.0f} s, and by no other worker since",
                advice="start a worker of its queue, or revoke it: DELETE /v1/tasks/{id}",
            )
        elif one.limit_s is not None and one.for_s > max(
            _LIMITS * one.limit_s, one.limit_s + ENDING_S
        ):
            yield Finding(
                code="task-stuck",
                subject=one.task_id,
                detail=f"{one.task} has run for {one.for_s:.0f} s on {one.worker}, with a time "
                f"limit of {one.limit_s:g} s",
                advice="restart that worker; a function on a thread cannot be stopped",
            )


def of_servers(
    *, memory: Mapping[str, int], beat_leads: bool, schedules: bool
) -> Iterator[Finding]:
    """Find a Redis that fills up, and schedules that nothing runs.

    Args:
        memory: `used_memory` and `maxmemory` of Redis, octets; 0: no bound.
        beat_leads: Whether a scheduler runs the schedules.
        schedules: Whether there are any.
    """
    used, bound = memory.get("used_memory", 0), memory.get("maxmemory", 0)
    if bound and used >= FULL_FRACTION * bound:
        yield Finding(
            code="redis-memory",
            subject="redis",
            detail=f"{used / bound:.0%} of maxmemory are used ({used:,} of {bound:,} octets)",
            advice="raise maxmemory, or keep results for less long (RESULT_EXPIRES_S)",
        )
    if schedules and not beat_leads:
        yield Finding(
            code="beat-silent",
            subject="beat",
            detail="there are schedules, and no scheduler runs them",
            advice="start beat: celery -A … beat",
        )


def of_refusal(words: str) -> Finding:
    """Say that Redis answers and stores nothing.

    Args:
        words: What it does, and what it said, as /readyz has them.
    """
    return Finding(
        code="redis-refuses",
        subject="redis",
        detail=f"Redis {words}; no task begins or ends, and of workers and beat nothing is known",
        advice="mend what its words name: its disk, its replicas, its memory, or which server "
        "REDIS_URL names; tasks wait, and go on by themselves",
    )


def of_history(lag_s: float | None, away_s: float | None) -> Iterator[Finding]:
    """Find a history that is not written, or not to be had.

    Args:
        lag_s: How far it is behind; None: not known.
        away_s: For how long it has not answered; None: it does.
    """
    if away_s is not None:
        if away_s >= HISTORY_AWAY_S:
            yield Finding(
                code="history-behind",
                subject="history",
                detail=f"the history process has not answered for {away_s:.0f} s",
                advice="look at the process (python -m history), its log, and MongoDB; tasks go on",
            )
    elif lag_s is not None and lag_s > BEHIND_S:
        yield Finding(
            code="history-behind",
            subject="history",
            detail=f"what is written into history happened {lag_s:.0f} s ago",
            advice="look at MongoDB, which may be slow or full, and at the log of the history "
            "process; tasks go on",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A problem, or what may become one."""

    finding: Finding
    since: float
    """When it was found first, unix seconds."""
    seen: float
    """When it was found last."""

    @property
    def advice(self) -> str:
        """What to do, and where more of it stands."""
        return f"{self.finding.advice} ({RUNBOOK}#{self.finding.code})"

    @property
    def lasts(self) -> bool:
        """Whether it was seen to last long enough.

        Time alone makes no problem of a finding: while a server is away nothing is looked at, and
        what was found just before may long be mended.
        """
        return self.seen - self.since >= AFTER_S[self.finding.code]


class ProblemWatch:
    """Remembers since when each finding has been one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Known] = {}

    def __repr__(self) -> str:
        """Return how many findings there are."""
        return f"<ProblemWatch {len(self._known)} findings>"

    def take(
        self, findings: Iterable[Finding], now: float, codes: Container[str] = AFTER_S
    ) -> None:
        """Make these what is found.

        Args:
            findings: All of now, of those codes.
            now: Unix seconds.
            codes: What was looked for; of others stands what was found before.
        """
        before = self._known
        self._known = {name: one for name, one in before.items() if name[0] not in codes}
        for one in findings:
            name = one.code, one.subject
            if one.code in codes:
                since = before[name].since if name in before else now
                self._known[name] = Known(finding=one, since=since, seen=now)

    @property
    def problems(self) -> list[Known]:
        """What has lasted long enough, the oldest first."""
        found = [one for one in self._known.values() if one.lasts]
        return sorted(found, key=lambda one: (one.since, one.finding.code, one.finding.subject))
