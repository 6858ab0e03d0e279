"""What looks on at an execution, in the context of its coroutine, from its begin to its end."""

from typing import Any, Protocol

from penstock.worker import tracing
from penstock.worker.asyncio_pool.sentry import Sentry


class Watch(Protocol):
    """Looks on at one execution."""

    def enter(self) -> None:
        """Be there when it begins, in a context that ends with it; a second time does nothing."""

    def raised(self, error: BaseException) -> None:
        """Look at what left the coroutine: whether it is a failure is not known yet."""

    def end(self, state: str, error: BaseException | None = None) -> None:
        """End with it; a second time does nothing."""


def watches_of(task: Any, context: Any) -> tuple[Watch, ...]:
    """Return what looks on at an execution that begins: mostly nothing.

    Args:
        task: Celery's.
        context: Celery's, of the execution.
    """
    traced = tracing.executing(task.name, vars(context))
    sentry = Sentry.watching(task, context)
    if traced is None and sentry is None:
        return ()
    if traced is not None:
        context.trace_id = traced.trace_id
    return tuple(one for one in (traced, sentry) if one is not None)
