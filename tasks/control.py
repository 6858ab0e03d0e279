"""Our own remote control command, for what Celery's `terminate` cannot do on threads."""

from typing import Any

from celery.worker import state as worker_state
from celery.worker.control import control_command, nok, ok

from tasks.request import Request


@control_command(  # type: ignore[untyped-decorator]  # Celery has no types
    name="penstock_terminate",
    args=[("task_id", str)],
    signature="<task_id>",
)
def penstock_terminate(state: Any, task_id: str, **_: Any) -> dict[str, Any]:
    """Stop a running task, which becomes REVOKED.

    A coroutine is cancelled on any pool; on prefork a function is killed with its process. Workers
    that do not run the task answer `{"ok": "unknown"}`; a function on a thread cannot be stopped.

    Args:
        state: of the worker.
        task_id: of the task.
    """
    request = worker_state.requests.get(task_id)
    if request is None or request not in worker_state.active_requests:
        return dict(ok("unknown"))
    pool = state.consumer.pool
    if pool.signal_safe:
        request.terminate(pool)
        return dict(ok("terminating"))
    if isinstance(request, Request) and request.stop_coroutine("terminated"):
        return dict(ok("terminating"))
    return dict(nok("not-terminable"))
