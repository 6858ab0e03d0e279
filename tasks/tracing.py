"""Around Celery's tracer: what it raises must not take the delivery's answer with it.

Celery's tracer catches what a task raises. What fails outside of its body (an errback that is
no signature, a chord without a size) escapes it: a pool's thread would end without a word, and the
delivery stay unacknowledged, and hold a slot, until the worker ends.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.app.trace import REJECTED, TraceInfo, trace_ok_t
from celery.exceptions import Reject
from celery.signals import worker_process_init

_logger = logging.getLogger(__name__)

Trace = Callable[..., Any]


class NotTracedError(Reject):  # type: ignore[misc]  # Celery has no types
    """The execution failed outside of the task's body; the broker decides what becomes of it.

    Args:
        reason: for the log.
        requeue: whether it may come again; otherwise it goes to the dead letters of its queue.
    """


def guard_tasks(app: Any) -> None:
    """Put a guard around the tracer of each task; after Celery has made them, in each process."""
    for task in app.tasks.values():
        task.__trace__ = guarded(app, task.name, task.__trace__)


def guard_children(app: Any) -> None:
    """Do so in each prefork child, where Celery makes tracers again."""
    worker_process_init.connect(
        lambda **_: guard_tasks(app), weak=False, dispatch_uid=f"penstock-guard-{id(app)}"
    )


def guarded(app: Any, name: str, trace: Trace) -> Trace:
    """Return a tracer that gives the delivery of a task back instead of raising."""

    def trace_task(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        try:
            return trace(uuid, args, kwargs, request)
        except Reject as rejected:
            return _rejected(NotTracedError(rejected.reason, rejected.requeue))
        except Exception as error:
            _logger.exception("failed outside of its body: task=%s task_id=%s", name, uuid)
            again = app.backend.exception_safe_to_retry(error)
            return _rejected(NotTracedError(repr(error), again))

    return trace_task


def _rejected(reject: NotTracedError) -> Any:
    """Return what Celery's tracer returns for a task that raised this."""
    try:
        raise reject
    except NotTracedError:
        info = ExceptionInfo(sys.exc_info(), internal=True)
    return trace_ok_t(info, TraceInfo(REJECTED, reject), 0.0, None)
