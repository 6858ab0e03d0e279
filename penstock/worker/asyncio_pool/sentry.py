"""Coroutines as Sentry's integration for Celery shows functions, where an application has that.

The integration is around Celery's tracer and the body of a task: of a coroutine both are called
when it has ended. Here the same is around the coroutine, made with Sentry's public functions alone;
if they change, the log says so once, and tasks go on.
"""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any

from celery import states
from celery.app import trace
from celery.exceptions import SoftTimeLimitExceeded

ENQUEUED_HEADER = "sentry-task-enqueued-time"
_ORIGIN = "auto.queue.celery"
_FILTERED = "[Filtered]"

_logger = logging.getLogger(__name__)
_failed: set[str] = set()


def _harmless(call: Callable[..., None]) -> Callable[..., None]:
    """Have a function do nothing more where Sentry is another than it knows."""

    @wraps(call)
    def called(*args: Any) -> None:
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001  # of another version, or a hook of the user's
            if call.__name__ not in _failed:
                _failed.add(call.__name__)
                _logger.warning("not reported to sentry: step=%s error=%r", call.__name__, error)

    return called


class Sentry:
    """One execution, as a transaction of Sentry.

    Args:
        sdk: the module `sentry_sdk`.
        task: Celery's.
        context: Celery's, of the execution.
    """

    __slots__ = ("_body", "_context", "_event", "_sdk", "_stack", "_task", "_whole")

    def __init__(self, sdk: Any, task: Any, context: Any) -> None:
        self._sdk = sdk
        self._task = task
        self._context = context
        self._stack: ExitStack | None = None
        self._whole: Any = None
        self._body: ExitStack = ExitStack()
        self._event: Any = None

    @classmethod
    def watching(cls, task: Any, context: Any) -> "Sentry | None":
        """Return what watches an execution; None: the application has not that integration."""
        sdk = sys.modules.get("sentry_sdk")
        if sdk is None:
            return None
        try:
            active = sdk.get_client().get_integration("celery") is not None
        except Exception:  # noqa: BLE001  # of a version without these
            return None
        return cls(sdk, task, context) if active else None

    @_harmless
    def enter(self) -> None:
        """Begin the transaction, in a scope of its own."""
        if self._stack is not None:
            return
        sdk, context, name = self._sdk, self._context, self._task.name
        stack = self._stack = ExitStack()
        scope = stack.enter_context(sdk.isolation_scope())
        scope.clear_breadcrumbs()
        scope.add_event_processor(self._describe)
        headers = context.headers or {}
        about = {"name": name, "origin": _ORIGIN}
        whole = sdk.continue_trace(headers, op="queue.task.celery", source="task", **about)
        whole.set_status("ok")
        job = {"task": name, "args": list(context.args or ()), "kwargs": context.kwargs}
        sdk.start_transaction(whole, custom_sampling_context={"celery_job": job})
        self._whole = stack.enter_context(whole)
        body = self._body.enter_context(sdk.start_span(op="queue.process", **about))
        info = context.delivery_info or {}
        if info.get("exchange") == "":
            body.set_data("messaging.destination.name", info.get("routing_key"))
        if sent_at := headers.get(ENQUEUED_HEADER):
            body.set_data("messaging.message.receive.latency", 1000 * (time.time() - sent_at))
        body.set_data("messaging.message.id", context.id)
        body.set_data("messaging.message.retry.count", context.retries)
        body.set_data("messaging.system", "amqp")

    def _describe(self, event: Any, hint: Any) -> Any:
        """Add to an event what it is about; Sentry calls it."""
        context, options = self._context, self._sdk.get_client().options
        event.setdefault("tags", {})["celery_task_id"] = context.id
        collected = options.get("data_collection") or {}
        shown = collected.get("queues", options.get("send_default_pii"))
        event.setdefault("extra", {})["celery-job"] = {
            "task_name": self._task.name,
            "args": context.args if shown else _FILTERED,
            "kwargs": context.kwargs if shown else _FILTERED,
        }
        kind = (hint.get("exc_info") or (None,))[0]
        if kind is not None and issubclass(kind, SoftTimeLimitExceeded):
            event["fingerprint"] = ["celery", "SoftTimeLimitExceeded", self._task.name]
        return event

    @_harmless
    def raised(self, error: BaseException) -> None:
        """Take down an error with the variables of its frames, which Celery clears."""
        if not issubclass(type(error), tuple(self._task.throws)):  # isinstance() asks the error
            self._event = sys.modules["sentry_sdk.utils"].event_from_exception(
                error,
                client_options=self._sdk.get_client().options,
                mechanism={"type": "celery", "handled": False},
            )

    @_harmless
    def end(self, state: str, error: BaseException | None = None) -> None:
        """End the transaction, and report a failure."""
        stack, self._stack = self._stack, None
        if stack is None:
            return
        with stack:
            self._body.__exit__(type(error) if error else None, error, None)
            if state == states.SUCCESS or self._whole is None:
                return
            failed = state == states.FAILURE
            self._whole.set_status("internal_error" if failed else "aborted")
            if failed and self._event is not None:
                event, hint = self._event
                self._sdk.capture_event(event, hint=hint)


def tracer_maker(task: Any) -> Callable[..., Any]:
    """Return Celery's `build_tracer` for a task that is executed on the event loop.

    Sentry's integration puts one of its own in the place of Celery's, which wraps the body and what
    is built: at the end of a coroutine that would report again what is reported here.
    """
    task._sentry_is_patched = True  # noqa: SLF001  # Sentry's: it leaves the body alone
    build: Callable[..., Any] = trace.build_tracer
    while build.__module__.startswith("sentry_sdk."):
        cells = getattr(build, "__closure__", None) or ()
        kept = [one.cell_contents for one in cells if callable(one.cell_contents)]
        if len(kept) != 1:
            break  # of a version that keeps it otherwise
        [build] = kept
    return build
