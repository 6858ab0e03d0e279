"""One delivery of a coroutine task, from the pool's call to its answer."""

import os
import time
from collections.abc import Callable
from typing import Any

from celery.app.task import Context
from celery.app.trace import prepare_accept_content
from kombu.serialization import loads

from penstock.worker.asyncio_pool.plans import Plan
from penstock.worker.running.runtime import Limits, Running


class Execution:
    """What the pool was asked to execute, and how far it is."""

    __slots__ = (
        "__weakref__", "_accepted", "accept_callback", "args", "attempts", "began_at", "callback",
        "context", "error_callback", "kwargs", "limits", "plan", "request",
        "returned", "running", "stop_reason", "stopper", "task_id",
    )  # fmt: skip

    def __init__(  # Celery's
        self,
        plan: Plan,
        request: dict[str, Any],
        callback: Callable[..., Any] | None,
        accept_callback: Callable[..., Any] | None,
        error_callback: Callable[..., Any] | None,
        limits: Limits,
    ) -> None:
        self.plan = plan
        self.request = request
        self.args = request["args"]
        self.kwargs = request["kwargs"]
        self.task_id: str = request["id"]
        self.context = Context(request, called_directly=False)
        self.callback = callback
        self.accept_callback = accept_callback
        self.error_callback = error_callback
        self.limits = limits
        """Of the message, or else of the task, as Celery's request has them."""
        self.running: Running | None = None
        """The coroutine; None: it has not begun."""
        self.returned: tuple[Any] | None = None
        """The result, while it is being recorded."""
        self.began_at = time.monotonic()
        self.attempts = 0
        """To reach Redis."""
        self.stop_reason: str | None = None
        self.stopper: Callable[[Execution], None] | None = None
        self._accepted = False

    def __repr__(self) -> str:
        """Name the task."""
        return f"<Execution {self.plan.task.name}[{self.task_id}]>"

    def accept(self) -> None:
        """Say once that it begins."""
        if not self._accepted and self.accept_callback is not None:
            self._accepted = True
            self.accept_callback(os.getpid(), time.monotonic())

    def stop(self, reason: str) -> None:
        """Cancel the coroutine, or let it never begin; from any thread.

        Args:
            reason: `terminated`, or `connection-lost`: the broker delivers the task again.
        """
        self.stop_reason = self.stop_reason or reason
        if self.stopper is not None:
            self.stopper(self)

    def terminate(self, signal: Any = None) -> None:  # noqa: ARG002  # Celery's: of a process
        """Stop on request of Celery's `Request.terminate`."""
        self.stop("terminated")

    @property
    def message(self) -> Any:
        """The delivery; None: the pool was called by something else than a request."""
        request = getattr(self.accept_callback, "__self__", None)
        return getattr(request, "message", None)

    def forget(self) -> None:
        """Have its request leave what Celery takes for running."""
        forget = getattr(getattr(self.accept_callback, "__self__", None), "forget", None)
        if forget is not None:
            forget()

    def reject(self) -> None:
        """Have the broker deliver it again."""
        reject = getattr(getattr(self.accept_callback, "__self__", None), "reject", None)
        if reject is not None:
            reject(requeue=True)

    @property
    def orphaned(self) -> bool:
        """Whether the channel of its delivery is gone, so that the broker delivers it again."""
        message = self.message
        if message is None or (message.acknowledged and not self.plan.task.acks_late):
            return False
        return getattr(message.channel, "connection", True) is None


def parts_of(app: Any, body: Any, content_type: Any, content_encoding: Any) -> dict[str, Any]:
    """Return what Celery's tracer adds to a request: its arguments, and what follows it."""
    if content_type:
        accept = prepare_accept_content(app.conf.accept_content)
        body = loads(body, content_type, content_encoding, accept=accept)
    args, kwargs, embed = body
    return {"args": args, "kwargs": kwargs, "is_eager": False, **(embed or {})}
