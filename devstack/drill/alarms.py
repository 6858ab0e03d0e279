"""What /v1/problems reported while things were broken, and which reports nothing explains.

Pure, but for `sample_problems`: an alarm is explained by a fault of its kind that was struck before
it, and healed not long before it; or by the load itself.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from devstack.drill.director import Episode

LOOK_EVERY_S = 2.0
_ANSWER_WITHIN_S = 10.0
SOON_S = 35.0
"""How long after the healing its problem may still be one: 15 s until all works, 20 s until it is
seen."""
RESTART_SOON_S = 60.0
"""The same of RabbitMQ, which takes its time to start, and workers after it."""

_AMQP = ("kill-rabbitmq", "cut-amqp", "refuse-amqp", "stall-amqp", "cutafter-amqp", "memory-alarm")
_REDIS = ("kill-redis", "cut-redis", "refuse-redis", "stall-redis", "cutafter-redis")
_MONGO = ("kill-mongo", "cut-mongo", "refuse-mongo", "stall-mongo", "cutafter-mongo")
_WORKERS = ("kill-worker", "roll-workers", "kill-stock-worker", "roll-stock-workers")
_CHILDREN = ("crash-task", "kill-child", "kill-stock-child")
EXPLAINED_BY: Mapping[str, frozenset[str]] = {
    "queue-without-worker": frozenset({*_AMQP, *_WORKERS, "kill-gateway"}),
    "queue-stalled": frozenset({*_AMQP, *_REDIS, *_MONGO, *_WORKERS, *_CHILDREN, "full-queue"}),
    "worker-silent": frozenset({*_REDIS, *_AMQP, *_WORKERS, "full-queue"}),
    "task-stuck": frozenset({*_REDIS, *_WORKERS, "full-queue"}),  # its worker is stopped for it
    "beat-silent": frozenset({*_REDIS, *_AMQP, "kill-beat"}),
    "history-behind": frozenset({*_REDIS, *_MONGO, "kill-history"}),
    "documents-waiting": frozenset(_MONGO),
}
"""Code → the faults that cause it. What is not here, nothing in a drill causes."""
BY_LOAD = frozenset({"dead-letters-growing"})
"""Poison, and tasks that end oddly, are part of every drill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One problem in one answer."""

    at: float
    """Unix time of the answer."""
    gateway: str
    code: str
    subject: str
    detail: str


async def sample_problems(url: str, gateway: str, alarms: list[Alarm]) -> None:
    """Ask one gateway for its problems, again and again, and note them.

    Args:
        url: Of the gateway.
        gateway: Its name.
        alarms: Gets them.
    """
    timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(url, timeout=timeout) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                async with session.get("/v1/problems") as response:
                    found = (await response.json())["problems"] if response.status == 200 else ()
                alarms += [
                    Alarm(
                        at=time.time(),
                        gateway=gateway,
                        code=one["code"],
                        subject=one["subject"],
                        detail=one["detail"],
                    )
                    for one in found
                ]
            await asyncio.sleep(LOOK_EVERY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A worker that ended by itself, until it was back.

    Stock Celery's does when Redis refuses in the moment in which it stores that a task was revoked
    (`celery.worker.request.Request._announce_revoked`, in the worker's main process); so does the
    next one, while Redis refuses.
    """

    queue: str
    """That no other worker consumes."""
    began: float
    ended: float
    """Unix seconds; 0: it is not back."""

    def explains(self, alarm: Alarm) -> bool:
        """Return whether its queue had no worker, or the worker was silent, because of it."""
        until = self.ended or float("inf")
        return (
            alarm.code in {"queue-without-worker", "worker-silent"}
            and alarm.subject.partition("@")[0] == self.queue  # a worker is called as its queue
            and self.began <= alarm.at <= until + SOON_S
        )


def unexplained(
    alarms: Iterable[Alarm], episodes: Sequence[Episode], absences: Sequence[Absence] = ()
) -> list[Alarm]:
    """Return the alarms that nothing explains; of one code and subject the first.

    Args:
        alarms: What gateways told.
        episodes: What was broken.
        absences: Of workers that end by themselves.
    """
    found: dict[tuple[str, str], Alarm] = {}
    for one in alarms:
        if (
            one.code in BY_LOAD
            or any(_explains(episode, one) for episode in episodes)
            or any(absence.explains(one) for absence in absences)
        ):
            continue
        found.setdefault((one.code, one.subject), one)
    return list(found.values())


def _explains(episode: Episode, alarm: Alarm) -> bool:
    if EXPLAINED_BY.get(alarm.code, frozenset()).isdisjoint(episode.names):
        return False
    soon_s = RESTART_SOON_S if "kill-rabbitmq" in episode.names else SOON_S
    ended = episode.healed or float("inf")
    return episode.began <= alarm.at <= ended + soon_s
