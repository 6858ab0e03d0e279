"""Whether this worker was told to stop, and that its processes do when they are."""

import signal

from billiard import common
from celery.signals import worker_process_shutdown
from celery.worker import state as worker_state

END_WITHIN_S = 10
"""How long a pool process may take to end once it has nothing left to do."""


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
