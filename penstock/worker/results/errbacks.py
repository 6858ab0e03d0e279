"""Errbacks of a failed task, called as Celery calls them, each with an end of its own.

Celery publishes an errback with the id of the failed task or, if by its signature it takes more
than one argument, calls it in the worker where the task failed, with the request, the exception and
the traceback (`Backend._call_task_errbacks`). Here the second kind gets a state under its id, an
errback that raises keeps no other from being called, and RabbitMQ is waited for.
"""

import logging
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from celery.app.task import Context
from celery.canvas import Signature
from celery.exceptions import NotRegistered
from celery.utils.functional import arity_greater

from penstock.wire.headers import COPY_HEADER
from penstock.worker.ending.callbacks import CallbackEnds, patiently
from penstock.worker.messages.envelope import signature_context

_logger = logging.getLogger(__name__)


class Errbacks(CallbackEnds):
    """How a result backend calls errbacks. Stands before Celery's backend in the bases."""

    start: Any
    _end_unneeded: Any

    def _call_task_errbacks(self, request: Any, exc: Any, traceback: Any) -> None:
        for errback in request.errbacks:
            signature = self.app.signature(errback)
            try:
                self._call_errback(signature, request, exc, traceback)
            except Exception:
                # Whatever it is: the others are to be called, and the failure is stored already.
                _logger.exception("errback not called: task=%s", signature.get("task"))

    def _call_errback(self, errback: Signature, request: Any, exc: Any, traceback: Any) -> None:
        if not errback.id:
            # Nobody can ask for its end: Celery's own way.
            alone = Context(vars(request), errbacks=[errback])
            super()._call_task_errbacks(alone, exc, traceback)  # type: ignore[misc]  # Celery's
        elif _takes_the_failure(errback):
            self._run_errback(errback, request, exc, traceback)
        else:
            publish = partial(
                errback.apply_async,
                (request.id,),
                parent_id=request.id,
                root_id=getattr(request, "root_id", None) or request.id,
                headers={**(errback.options.get("headers") or {}), COPY_HEADER: uuid4().hex},
            )
            patiently(publish, f"errback of {request.id}")

    def _run_errback(self, errback: Signature, request: Any, exc: Any, traceback: Any) -> None:
        """Call it here, and store how it ends."""
        own = signature_context(errback)
        own.update(
            hostname=getattr(request, "hostname", None),
            delivery_info=getattr(request, "delivery_info", None) or {},
            parent_id=request.id,
            root_id=getattr(request, "root_id", None) or request.id,
            started_at=datetime.now(UTC).isoformat(),
        )
        tracked = not own.ignore_result
        answer = self.start(own, tracked=tracked, retried=False)
        if answer != "start":
            _logger.info("errback not started: task_id=%s reason=%s", own.id, answer)
            return
        try:
            result = errback(request, exc, traceback)
        except Exception as error:
            _logger.exception("errback raised: task=%s task_id=%s", errback.task, own.id)
            self.mark_as_failure(own.id, error, request=own, store_result=tracked)
        else:
            self.mark_as_done(own.id, result, request=own, store_result=tracked)
        for name in ("link", "link_error"):  # Celery publishes none of them
            self._end_unneeded(errback.options.get(name))


def errback_ids(errbacks: Any) -> set[str]:
    """Return the ids of those errbacks that have one."""
    found = ((errback.get("options") or {}).get("task_id") for errback in errbacks or ())
    return {one for one in found if one}


def _takes_the_failure(errback: Signature) -> bool:
    """Tell whether it is called with request, exception and traceback, as Celery decides it.

    One that takes no argument of the failure at all can as well run where its messages go.
    """
    if errback.immutable or errback.subtask_type:
        return False
    try:
        header = getattr(errback.type, "__header__", None)
    except NotRegistered:  # another worker has it
        return False
    if header is None or isinstance(header, partial):
        return False
    if errback.args or errback.kwargs:
        try:
            return bool(arity_greater(partial(header, *errback.args, **errback.kwargs), 1))
        except (TypeError, ValueError):
            pass
    return bool(arity_greater(header, 1))
