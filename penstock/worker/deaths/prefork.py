"""A mend of Celery's prefork pool: a process that died with a task is always seen as such.

The pool first notes which processes have ended, and then gives each task whose process does not
live back to its queue of tasks, unless the process had said that it took the task. One that ends
between the two has said so, but nobody has read it: its task would run once more, as if no process
had died under it (`billiard.pool.Pool._join_exited_workers`, `AsynPool.on_partial_read`).
"""

from typing import Any

from celery.concurrency.prefork import TaskPool


def see_every_death(pool: Any) -> None:
    """Have a prefork pool read what a process has said before it takes its task back.

    Args:
        pool: of a worker; one of another kind is left alone.
    """
    processes = getattr(pool, "_pool", None) if isinstance(pool, TaskPool) else None
    if processes is None or "on_partial_read" in vars(processes):
        return
    take_back = processes.on_partial_read

    def on_partial_read(job: Any, process: Any) -> None:
        if not job._accepted:  # noqa: SLF001  # billiard's, the only sign
            processes.process_flush_queues(process)
        take_back(job, process)

    processes.on_partial_read = on_partial_read
