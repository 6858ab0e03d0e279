"""The message that announces the end of a task to its callback: from workers to gateways.

A small JSON object on the queue `callbacks`. The final state is read when it is delivered.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from penstock.wire.headers import CALLBACK_HEADER, REPLAY_HEADER, TENANT_HEADER, TRACEPARENT

DELIVER_TASK = "callbacks.deliver"
"""What tools show as the task of such a message; no worker executes it."""
_EVENTS = uuid.UUID("8f0f3f52-5d5b-4e0e-9c61-7a3f0f6c2e11")
"""Namespace of the ids of events."""


def end_event(
    task_id: str, task: str | None, state: str, headers: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the body of the message; None where no callback is wanted.

    Its id is made of what happened: the same end announced twice is one event.

    Args:
        task_id: the task that ended.
        task: its name, if it is known.
        state: its final state.
        headers: of its message; anything may be in them.
    """
    url = headers.get(CALLBACK_HEADER)
    if not isinstance(url, str):
        return None
    replays = headers.get(REPLAY_HEADER) or 0
    event_id = uuid.uuid5(_EVENTS, f"{task_id}\n{state}\n{replays}")
    found = {"event": str(event_id), "id": task_id, "task": task, "state": state, "url": url}
    if isinstance(traceparent := headers.get(TRACEPARENT), str):
        found["traceparent"] = traceparent
    if isinstance(tenant := headers.get(TENANT_HEADER), str) and tenant:
        found["tenant"] = tenant
    return found
