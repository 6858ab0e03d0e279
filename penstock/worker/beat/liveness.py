"""A file that is touched while a worker or beat does its work: the cheapest health check.

`celery inspect ping` costs a second of CPU each time; the age of a file costs nothing. A worker
touches it with each of its heartbeats, every two seconds while it is connected to RabbitMQ; beat
with each look at the schedule.
"""

from pathlib import Path

from celery.signals import heartbeat_sent

from penstock.looper import Faults, plain_line

_faults = Faults("liveness", expected=(OSError,), tell=plain_line)


def touch(path: Path | None) -> None:
    """Say that this process does its work; None: nobody asks."""
    if path is None:
        return
    try:
        path.touch()
    except OSError as error:  # a full disk: the check finds the file old, and the work goes on
        _faults.failed(error)
    else:
        _faults.well()


def touch_with_heartbeats(path: Path | None) -> None:
    """Touch the file with each heartbeat of this process's worker.

    To be called before the worker starts: Celery looks for receivers once.
    """
    if path is not None:
        heartbeat_sent.connect(lambda **_: touch(path), weak=False, dispatch_uid="liveness")
