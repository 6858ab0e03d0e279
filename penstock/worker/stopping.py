"""Whether this worker was told to stop, and that its processes do when they are."""

import atexit
import logging
import os
import signal
import threading
import time
from concurrent.futures import thread
from functools import partial
from typing import Any

from billiard import common
from celery.signals import worker_process_shutdown
from celery.worker import state as worker_state

from penstock.worker.process import stack_of

END_WITHIN_S = 10
"""How long a pool process may take to end once it has nothing left to do."""
LEAVE_WITHIN_S = 3.0
"""How long threads may run on in a worker that has stopped; and then what modules do at the end."""

_logger = logging.getLogger(__name__)
_leaving: set[int] = set()


def stopping() -> bool:
    """Tell whether this process ends as soon as it can."""
    return any(
        flag is not None and flag is not False
        for flag in (worker_state.should_stop, worker_state.should_terminate)
    )


def terminated() -> bool:
    """Tell whether a signal that ends this process was handled: what is raised now is no end."""
    return bool(common._should_have_exited[0])  # noqa: SLF001  # has a function since 4.3.1


def end_in_time() -> None:
    """Have prefork children end even if nobody reads what they say.

    The last that a child does is write to its parent that it ends. A parent that has left its loop
    may not read any more (a traceback of a retry can fill the pipe): the child would wait for it,
    and it for the child, without end. The message whose result was not read is not acknowledged,
    so that the broker delivers it again.
    """
    worker_process_shutdown.connect(_end_soon, dispatch_uid="penstock-end-in-time")


def _end_soon(**_: object) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(END_WITHIN_S)


def leave_threads(worker: Any) -> None:
    """Have this process end soon, whatever threads of tasks run on; its worker has stopped.

    Python would wait for those of `asyncio.to_thread`, of executors, and for others that are no
    daemons. What runs on belongs to no task that was waited for.

    Args:
        worker: Celery's, which has the exit status.
    """
    # Called before Python waits; what `atexit` has comes after that.
    threading._register_atexit(partial(_leave, os.getpid(), worker))  # type: ignore[attr-defined]  # noqa: SLF001  # as executors do


def _leave(pid: int, worker: Any) -> None:
    if os.getpid() == pid and pid not in _leaving:  # and not a process that a task has forked
        _leaving.add(pid)
        threading.Thread(target=_end, args=(worker,), name="leaving", daemon=True).start()


def _end(worker: Any) -> None:
    time.sleep(LEAVE_WITHIN_S)
    executors: Any = thread._threads_queues  # noqa: SLF001  # what Python waits for, daemons too
    waited_for = [one for one in threading.enumerate() if not one.daemon or one in executors]
    left = [one for one in waited_for if one is not threading.main_thread()]
    if not left:
        return
    for one in left:
        _logger.warning(
            "the worker ends without a thread that runs on: %s\n%s",
            one.name,
            stack_of(one.ident or 0),
        )
    handlers = threading.Thread(target=atexit._run_exitfuncs, daemon=True)  # noqa: SLF001  # as above
    handlers.start()
    handlers.join(LEAVE_WITHIN_S)
    code = worker.exitcode
    os._exit(code if isinstance(code, int) else int(code is not None))
