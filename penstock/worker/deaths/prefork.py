"""Mends of Celery's prefork pool: the death of a process is seen as such, and ends no worker.

The pool first notes which processes have ended, and then gives each task whose process does not
live back to its queue of tasks, unless the process had said that it took the task. One that ends
between the two has said so, but nobody has read it: its task would run once more, as if no process
had died under it (`billiard.pool.Pool._join_exited_workers`, `AsynPool.on_partial_read`).

The pool hears of an end by a pipe, and forgets the pipe before it asks the kernel, for which the
process may live on for a moment, or for long if a task closed what it inherited. When the
connection to the broker is lost meanwhile, the pool watches all its processes anew, stumbles over
the pipe that it has forgotten, and the worker ends (`AsynPool._track_child_process`).
"""

from typing import Any

from celery.concurrency.prefork import TaskPool


def mend(pool: Any) -> None:
    """Mend a prefork pool, once.

    Args:
        pool: of a worker; one of another kind is left alone.
    """
    processes = getattr(pool, "_pool", None) if isinstance(pool, TaskPool) else None
    if processes is None or "on_partial_read" in vars(processes):
        return
    take_back, track = processes.on_partial_read, processes._track_child_process  # noqa: SLF001

    def on_partial_read(job: Any, process: Any) -> None:
        if not job._accepted:  # noqa: SLF001  # billiard's, the only sign
            processes.process_flush_queues(process)
        take_back(job, process)

    def track_child_process(process: Any, hub: Any) -> None:
        forgotten = getattr(process, "_sentinel_poll", hub) is None
        if not forgotten:  # the pool looks for such ones every five seconds
            track(process, hub)

    processes.on_partial_read = on_partial_read
    processes._track_child_process = track_child_process  # noqa: SLF001
