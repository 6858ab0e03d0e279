"""One delivery of a coroutine task, from the pool's call to its answer."""

import logging
import os
import time
from collections.abc import Callable
from contextvars import Context as Scope
from contextvars import copy_context
from typing import Any, NamedTuple

from billiard.einfo import ExceptionInfo
from celery.app.task import Context
from celery.worker.request import Request

from penstock.worker.asyncio_pool.plans import Plan
from penstock.worker.asyncio_pool.watches import Watch
from penstock.worker.request_id import request_id_of
from penstock.worker.running.runtime import Limits, Running

_logger = logging.getLogger(__name__)


class Callbacks(NamedTuple):
    """What Celery wants to be called, where it is no request of this pool's."""

    on_success: Callable[..., Any] | None
    on_accepted: Callable[..., Any] | None
    on_failure: Callable[..., Any] | None

    @property
    def options(self) -> dict[str, Any]:
        """What Celery's pools call them."""
        names = ("callback", "accept_callback", "error_callback")
        return dict(zip(names, self, strict=True))


class Execution:
    """What the pool was asked to execute, and how far it is."""

    __slots__ = (
        "__weakref__", "_accepted", "args", "attempts", "began_at", "context", "kwargs", "limits",
        "origin", "plan", "request", "request_id", "returned", "running", "scope", "stop_reason",
        "stopper", "task_id", "watches",
    )  # fmt: skip

    def __init__(
        self, plan: Plan, request: dict[str, Any], origin: "Request | Callbacks", limits: Limits
    ) -> None:
        self.plan = plan
        self.request = request
        self.args = request["args"]
        self.kwargs = request["kwargs"]
        self.task_id: str = request["id"]
        self.context = context_of(request)
        self.request_id = request_id_of(self.context.headers)
        """Of the HTTP request that it comes from; empty: of none."""
        self.origin: Any = origin
        """What Celery wants to be called."""
        self.limits = limits
        """Of the message, or else of the task, as Celery's request has them."""
        self.running: Running | None = None
        """The coroutine; None: it has not begun."""
        self.returned: tuple[Any] | None = None
        """The result, while it is being recorded."""
        self.scope: Scope | None = None
        """What its coroutine ran in, which has ended; None: it has not begun."""
        self.began_at = time.monotonic()
        self.attempts = 0
        """To reach Redis."""
        self.stop_reason: str | None = None
        self.watches: tuple[Watch, ...] = ()
        """What looks on, once it has begun."""
        self.stopper: Callable[[Execution], None] | None = None
        self._accepted = False

    def __repr__(self) -> str:
        """Name the task."""
        return f"<Execution {self.plan.task.name}[{self.task_id}]>"

    def accept(self) -> None:
        """Say once that it begins."""
        if not self._accepted and self.origin.on_accepted is not None:
            self._accepted = True
            try:
                self.origin.on_accepted(os.getpid(), time.monotonic())
            except Exception:  # it runs all the same
                _logger.exception("start not noted: %r", self)

    def end(self, answer: Any) -> None:
        """Call what Celery does at an end.

        Args:
            answer: of Celery's tracer; None: the delivery is given back, and nothing is done.
        """
        if answer is not None and self.origin.on_success is not None:
            self.origin.on_success(answer)

    def break_off(self, info: ExceptionInfo) -> None:
        """Call what Celery does when a task could not be executed."""
        try:
            if self.origin.on_failure is not None:
                self.origin.on_failure(info)
        except Exception:
            _logger.exception("end not handled: %r", self)

    def stop(self, reason: str) -> None:
        """Cancel the coroutine, or let it never begin; from any thread.

        Args:
            reason: `terminated`, or `connection-lost`: the broker delivers the task again.
        """
        self.stop_reason = self.stop_reason or reason
        if self.stopper is not None:
            self.stopper(self)

    def within(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call something in the context of the coroutine, which has ended or will never begin."""
        if self.scope is None:
            self.scope = copy_context()
        return self.scope.run(call, *args)

    def unwatch(self, state: str, error: BaseException | None = None) -> None:
        """Tell what looks on how it has ended; in the context of the coroutine."""
        for one in self.watches:
            one.end(state, error)

    def terminate(self, signal: Any = None) -> None:  # noqa: ARG002  # Celery's: of a process
        """Stop on request of Celery's `Request.terminate`."""
        self.stop("terminated")

    @property
    def asked_by(self) -> Any:
        """Celery's request; None: the pool was called by something else."""
        if isinstance(self.origin, Callbacks):
            return getattr(self.origin.on_accepted, "__self__", None)
        return self.origin

    @property
    def message(self) -> Any:
        """The delivery; None: the pool was called by something else than a request."""
        return getattr(self.asked_by, "message", None)

    def forget(self) -> None:
        """Have its request leave what Celery takes for running."""
        forget = getattr(self.asked_by, "forget", None)
        if forget is not None:
            forget()

    def reject(self) -> None:
        """Have the broker deliver it again."""
        reject = getattr(self.asked_by, "reject", None)
        if reject is not None:
            reject(requeue=True)

    @property
    def orphaned(self) -> bool:
        """Whether the channel of its delivery is gone, so that the broker delivers it again."""
        message = self.message
        if message is None or (message.acknowledged and not self.plan.task.acks_late):
            return False
        return getattr(message.channel, "connection", True) is None


def context_of(request: dict[str, Any]) -> Context:
    """Make Celery's context of a request: of the same dictionary, which stays as long as it.

    Whoever makes another one of the request, as Celery's tracer does, copies it.
    """
    if request.get("headers") is None or any(request.get("timelimit") or ()):
        return Context(request, called_directly=False)  # which makes more of these
    context = Context.__new__(Context)
    request["called_directly"] = False
    context.__dict__ = request
    return context
