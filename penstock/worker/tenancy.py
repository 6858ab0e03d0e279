"""Whose a task is: said by its message, passed on to what it starts, charged for what is kept."""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from celery._state import get_current_worker_task

from penstock.wire.headers import REQUEST_HEADER, TENANT_HEADER
from penstock.wire.kept_results import charge_to
from penstock.worker.request_id import REQUEST_ID

TENANT: ContextVar[str | None] = ContextVar("tenant", default=None)
"""Of the task whose coroutine runs: the loop's thread has no current task of Celery's."""


def tenant_of(request: Any) -> str | None:
    """Return the tenant that the message of a task names; None: no gateway published it."""
    tenant = (getattr(request, "headers", None) or {}).get(TENANT_HEADER)
    return tenant if isinstance(tenant, str) and tenant else None


def passed_on(headers: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the headers of a message with tenant and request of the task that publishes it.

    Args:
        headers: of the message; what they name stays.
    """
    task = get_current_worker_task()
    tenant = TENANT.get() if task is None else tenant_of(task.request)
    found = {} if tenant is None else {TENANT_HEADER: tenant}
    if request_id := REQUEST_ID.get():
        found[REQUEST_HEADER] = request_id
    if headers is None and not found:
        return None
    return {**found, **(headers or {})}


def charge(request: Any, keep_s: int) -> tuple[list[str], list[str | int]]:
    """Return the keys and arguments by which `task_record.lua` charges an end to its tenant.

    Args:
        request: Celery's context of the execution.
        keep_s: how long the record is kept, seconds.
    """
    return charge_to(tenant_of(request), time.time(), keep_s)
