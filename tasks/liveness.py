"""A file that is touched while a worker or beat does its work: the cheapest health check.

`celery inspect ping` costs a second of CPU each time; the age of a file costs nothing. A worker
touches it with each of its heartbeats, every two seconds while it is connected to RabbitMQ; beat
with each look at the schedule.
"""

from pathlib import Path

from celery.signals import heartbeat_sent


def touch(path: Path | None) -> None:
    """Say that this process does its work; None: nobody asks."""
    if path is not None:
        path.touch()


def touch_with_heartbeats(path: Path | None) -> None:
    """Touch the file with each heartbeat of this process's worker.

    To be called before the worker starts: Celery looks for receivers once.
    """
    if path is not None:
        heartbeat_sent.connect(lambda **_: touch(path), weak=False, dispatch_uid="liveness")
