"""Messages that are published past the gateway: what other applications may put in the queues."""

import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from aio_pika import DeliveryMode, Message

_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def task_message(
    task: str,
    args: list[Any],
    *,
    raw: bytes | None = None,
    without: str = "",
    **headers: Any,
) -> Message:
    """Build a task message of Celery's protocol 2.

    Args:
        task: Its name.
        args: Its arguments.
        raw: A body instead of the right one.
        without: A header to leave out.
        headers: Headers instead of the right ones.
    """
    task_id = str(uuid.uuid4())
    whole: Mapping[str, Any] = {
        "lang": "py", "task": task, "id": task_id, "shadow": None, "eta": None, "expires": None,
        "group": None, "group_index": None, "retries": 0, "timelimit": [None, None],
        "root_id": task_id, "parent_id": None, "origin": "drill", "ignore_result": False,
        "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {}, **headers,
    }  # fmt: skip
    return Message(
        orjson.dumps([args, {}, _EMBED]) if raw is None else raw,
        headers={name: value for name, value in whole.items() if name != without},
        content_type="application/json",
        content_encoding="utf-8",
        correlation_id=task_id,
        message_id=task_id,
        delivery_mode=DeliveryMode.PERSISTENT,
    )
