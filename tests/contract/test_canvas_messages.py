"""Our canvases against Celery's own: the same messages, dict by dict."""

import json
import re
from typing import Any

import msgspec
import pytest
from celery import Celery
from celery.canvas import Signature
from kombu.entity import Queue

from gateway.access.task_id import TaskIds
from gateway.canvas.canvas import line_of, opening
from gateway.canvas.canvas_request import GroupNode, TaskNode, parse_canvas, walk
from gateway.rabbitmq.task_message import with_first
from tests.support.canvases import CANVASES, add, celerys, total

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(-[0-9a-f]{20})?")
COMPARED_HEADERS = ("task", "id", "group", "group_index", "parent_id")
NOT_COMPARED = {
    "root_id", "parent_id",  # null here, set by the worker that publishes
    "reply_to",              # of the rpc backend
    "add_to_parent",         # of the process that publishes
}  # fmt: skip

MORE = {
    "link": add(1, 2, link=total(), link_error=add(3, immutable=True)),
    "link inside": {"chain": [add(1, 2), add(3, link=[add(4), add(5)])]},
    "options": {
        "chain": [
            add(1, 2),
            add(3, options={"queue": "high_priority", "countdown": 5, "priority": 3}),
            add(4, options={"exchange": "events", "routing_key": "a.b", "time_limit": 9}),
        ]
    },
}
OURS_ARE_OTHERS = {
    # Celery carries chord(h, chain(total, add)) where we carry chord(h, total) and add behind it,
    # which is what it makes itself of the same chord in a chain.
    "chord of chains",
    # Celery carries chord(h2, chain(b2, total)) where we carry chord(h2, b2) and total behind it.
    "chord as a body",
    # Celery names the empty header as the group of the body, which nothing reads.
    "empty header, more behind it",
}


def published_by_celery(canvas: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of Celery's own canvas, taken from a broker in memory."""
    app = Celery(
        set_as_current=False, broker="memory://", backend="cache+memory://",
        task_queues=[Queue("celery"), Queue("high_priority")],
    )  # fmt: skip
    signature: Signature = celerys(canvas, app)
    signature.apply_async()
    found = []
    with app.connection_for_read() as connection:
        queue = Queue("celery")(connection.default_channel)
        while (message := queue.get()) is not None:
            message.ack()
            args, kwargs, embed = message.payload
            found.append({"headers": message.headers, "args": args, "kwargs": kwargs, **embed})
    return found


def published_by_us(canvas: dict[str, Any]) -> list[dict[str, Any]]:
    ids = TaskIds([(1, b"k" * 32)])
    root = parse_canvas(json.dumps(canvas).encode())
    for node in walk(root):
        if isinstance(node, GroupNode):
            node.id = ids.issue("t", group=True)
        elif isinstance(node, TaskNode):
            node.id = ids.issue("t")
            chosen = node.request.options
            node.options = {
                name: value for name in chosen.__struct_fields__ if (value := getattr(chosen, name))
            }
    found = []
    for start in opening(line_of(root)).starts:
        embed = json.loads(msgspec.json.encode(start.embed))
        headers = {
            "task": start.node.request.task,
            "id": start.node.id,
            "group": start.membership.group_id,
            "group_index": start.membership.index,
            "parent_id": None,
        }
        request = start.node.request
        given = bytes(request.args)
        args = json.loads(with_first(given, b"[]") if start.given else given)
        kwargs = json.loads(bytes(request.kwargs))
        found.append({"headers": headers, "args": args, "kwargs": kwargs, **embed})
    return found


def comparable(messages: list[dict[str, Any]]) -> Any:
    """The same without what may differ: ids become numbers in the order of appearance."""
    seen: dict[str, int] = {}

    def plain(value: Any) -> Any:
        match value:
            case dict():
                return {
                    name: plain(value[name])
                    for name in sorted(value)
                    if name not in NOT_COMPARED and value[name] not in (None, [], {})
                }
            case list() | tuple():
                return [plain(item) for item in value]
            case str() if ID.fullmatch(value):
                return f"id {seen.setdefault(value, len(seen))}"
        return value

    return [
        plain({**message, "headers": {n: message["headers"][n] for n in COMPARED_HEADERS}})
        for message in messages
    ]


@pytest.mark.parametrize("name", [name for name in CANVASES | MORE if name not in OURS_ARE_OTHERS])
def test_messages_are_celerys(name: str):
    canvas = (CANVASES | MORE)[name]

    assert comparable(published_by_us(canvas)) == comparable(published_by_celery(canvas))
