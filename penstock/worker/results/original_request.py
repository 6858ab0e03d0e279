"""What a task was asked with, and where it came from: for history, which keeps both.

    {"id":…,"task":…,"args":"[1,2]","kwargs":"{}","embed":"{…}","options":{…},"tenant":…}

Arguments are the text that a retry would publish, so that they can be published again as they are.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from penstock.wire.headers import CALLBACK_HEADER, JSON_HEADER, UNKEPT_HEADER, is_reserved
from penstock.wire.json_meaning import DATA, TYPE_KEY
from penstock.wire.keys import MAX_REQUEST_BYTES
from penstock.worker.ending.failures import safely
from penstock.worker.messages.json_values import Form, encode
from penstock.worker.tenancy import tenant_of

_FOLLOWING = ("callbacks", "errbacks", "chain")
"""Not the chord: its count has gone on."""


def origin(request: Any, task_id: str) -> dict[str, str]:
    """Return the members of a record that say where a task came from.

    Args:
        request: Celery's context of the execution, or what Celery has in its place for a task that
            it does not know, without an id.
        task_id: of the task.
    """
    found = {}
    for name, attribute in (("group_id", "group"), ("parent_id", "parent_id")):
        if value := getattr(request, attribute, None):
            found[name] = value
    queue = (getattr(request, "delivery_info", None) or {}).get("queue")
    if isinstance(queue, str):
        found["queue"] = queue
    tenant = tenant_of(request)
    if tenant is not None:
        found["tenant"] = tenant
    root = getattr(request, "root_id", None)
    if isinstance(root, str) and root != task_id:
        found["root_id"] = root
    return found


def request_as_sent(app: Any, request: Any) -> str:
    """Return what a task was asked with as JSON; empty: it is not to be kept, or not known.

    Args:
        app: the application, whose tasks say whether theirs is kept.
        request: Celery's context of the execution; None, or one that was never delivered.
    """
    return safely(lambda: _request_as_sent(app, request), "")


def _request_as_sent(app: Any, request: Any) -> str:
    delivery = getattr(request, "delivery_info", None)
    if not delivery:
        return ""
    headers = request.headers or {}
    task = app.tasks.get(request.task)
    if headers.get(UNKEPT_HEADER) or not getattr(task, "keep_arguments", True):
        return ""
    embed = {name: getattr(request, name, None) for name in _FOLLOWING}
    parts = [request.args, request.kwargs, {key: one for key, one in embed.items() if one}]
    texts = [encode(part, Form.STRICT) for part in parts]
    found: dict[str, Any] = {"id": request.id, "task": request.task}
    if sum(len(text.encode()) for text, _ in texts) > MAX_REQUEST_BYTES:
        return orjson.dumps({**found, "too_large": True}).decode()
    found["args"], found["kwargs"], following = (text for text, _ in texts)
    found["embed"] = following if parts[2] else ""
    found["options"] = _options(request, delivery, headers)
    # What the text means. A mark is of one text alone: where one has it, none is for a gateway.
    if any(meaning for _, meaning in texts):
        found["options"]["json"] = "mixed"
    elif any(TYPE_KEY in text for text, _ in texts) and headers.get(JSON_HEADER) != DATA:
        found["options"]["json"] = "celery"
    tenant = tenant_of(request)
    if tenant is not None:
        found["tenant"] = tenant
    return orjson.dumps(found).decode()


def _options(
    request: Any, delivery: Mapping[str, Any], headers: Mapping[str, Any]
) -> dict[str, Any]:
    hard_s, soft_s = (*(request.timelimit or ()), None, None)[:2]
    found = {
        "queue": delivery.get("queue"),
        "exchange": delivery.get("exchange"),
        "routing_key": delivery.get("routing_key"),
        "priority": delivery.get("priority"),
        "time_limit": hard_s,
        "soft_time_limit": soft_s,
        "callback_url": headers.get(CALLBACK_HEADER),
        "headers": {
            name: value
            for name, value in headers.items()
            if not is_reserved(name) and isinstance(value, str | bool | int | float)
        },
    }
    return {name: value for name, value in found.items() if value not in (None, {}, 0)}
