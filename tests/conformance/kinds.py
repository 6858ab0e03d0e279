"""Every kind of message, as the body of a request; `client.py` makes Celery's signature of it."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

QUEUE = "golden"
COUNTDOWN_S = 2
TIMES = {"in two seconds": 2, "in two minutes": 120}
"""Words of `eta` and `expires`, and how many seconds ahead they are."""


def timed(kind: dict[str, Any]) -> dict[str, Any]:
    """Put times in place of their words: when it is published."""
    text = json.dumps(kind)
    for words, seconds in TIMES.items():
        at = datetime.now(timezone.utc) + timedelta(seconds=seconds)  # noqa: UP017  # Python 3.8
        text = text.replace(words, at.isoformat())
    made: dict[str, Any] = json.loads(text)
    return made


def add(*args: Any, **more: Any) -> dict[str, Any]:
    return {"task": "golden.add", "args": list(args), **more}


def total(**more: Any) -> dict[str, Any]:
    return {"task": "golden.total", **more}


HEARD = {"task": "golden.heard", "immutable": True}
TASKS: dict[str, dict[str, Any]] = {
    "plain": add(1, 2),
    "no arguments": {"task": "golden.add"},
    "kwargs": {"task": "golden.echo", "args": [1], "kwargs": {"day": "2026-01-31", "n": None}},
    "values": {"task": "golden.echo", "args": [1.5, "ø", [True, {"a": [None]}], -(2**40)]},
    "countdown": add(1, options={"countdown": COUNTDOWN_S}),
    "eta": add(1, options={"eta": "in two seconds"}),
    "expires": add(1, options={"expires": 60}),
    "expires at": add(1, options={"expires": "in two minutes"}),
    "priority": add(1, options={"priority": 5}),
    "limits": add(1, options={"time_limit": 30, "soft_time_limit": 20.5}),
    "headers": {"task": "golden.headers", "options": {"headers": {"tenant": "acme"}}},
    "ignore_result": add(1, options={"ignore_result": True}),
    "failure": {"task": "golden.fail"},
    "retry": {"task": "golden.again", "args": [2]},
}
CANVASES: dict[str, dict[str, Any]] = {
    "link": {"chain": [add(1, 2, link=[add(3)])]},
    "link_error": {"chain": [{"task": "golden.fail", "link_error": [HEARD]}]},
    "chain": {"chain": [add(1, 2), add(3), add(4)]},
    "immutable": {"chain": [add(1, 2), add(3, 3, immutable=True), add(4)]},
    "group": {"group": [add(1, 1), add(2, 2), add(3, 3)]},
    "chord": {"chord": {"header": [add(1, 1), add(2, 2)], "body": total()}},
    "group then task": {"chain": [{"group": [add(1, 1), add(2, 2)]}, total()]},
    "nested chord": {
        "chord": {
            "header": [
                {"chord": {"header": [add(1, 1), add(2, 2)], "body": total()}},
                add(3, 3),
            ],
            "body": total(),
        }
    },
    "chain > group > task": {"chain": [add(1, 1), {"group": [add(10), add(20)]}, total(), add(1)]},
    "group of chains": {"group": [{"chain": [add(1, 1), add(2)]}, {"chain": [add(3, 3), add(4)]}]},
    "options in a chain": {
        "chain": [add(1, 2), add(3, options={"priority": 3, "time_limit": 9})],
    },
}
_ONE = add(1, 1, immutable=True)
_ROW: list[dict[str, Any]] = [{"group": [_ONE, _ONE]}] * 10


def in_headers(chords: int) -> dict[str, Any]:
    """Chords, each of which begins the header of another."""
    inner = _ONE
    for _ in range(chords):
        inner = {"chord": {"header": [inner, _ONE], "body": total()}}
    return inner


DEEPEST: dict[str, dict[str, Any]] = {
    "groups in a row": {"chain": _ROW},
    "behind a task": {"chain": [_ONE, *_ROW[1:]]},
    "in headers": {"chain": [_ONE, in_headers(8)]},
}
"""What a gateway takes at most for workers of any version."""
LISTS_OF_ONE: dict[str, dict[str, Any]] = {
    "first": {"chain": [{"group": [add(1, 1)]}, total()]},
    "in the middle": {"chain": [add(1, 1), {"group": [add(10)]}, total()]},
    "last": {"chain": [add(1, 1), {"group": [add(10)]}]},
    "before another": {"chain": [add(1, 1), {"group": [add(1)]}, {"group": [total()]}]},
    "in a later group": {
        "chain": [add(1, 1), {"group": [{"chain": [add(1), {"group": [add(2)]}]}, add(3)]}]
    },
}
"""Groups of one in chains, of which Celery's client makes their members."""
CONTROLS: dict[str, list[Any]] = {
    "revoke": ["revoke", {"task_id": "the-id", "terminate": False}],
    "terminate": ["revoke", {"task_id": "the-id", "terminate": True}],
}
"""What DELETE broadcasts: a method of `app.control` and its arguments."""
COMMANDS: dict[str, list[Any]] = {
    "command consume": ["add_consumer", {"queue": QUEUE}],
    "command cancel": ["cancel_consumer", {"queue": QUEUE}],
    "command grow": ["pool_grow", {"n": 2}],
    "command shrink": ["pool_shrink", {"n": 1}],
}
"""What commands for one worker broadcast."""


def stamps(*args: Any, **more: Any) -> dict[str, Any]:
    return {"task": "golden.stamps", "args": list(args), **more}


STAMPED: dict[str, dict[str, Any]] = {
    "stamped task": stamps(1),
    "stamped link": {"chain": [add(1, link=[stamps(2)])]},
    "stamped link_error": {"chain": [{"task": "golden.fail", "link_error": [HEARD]}]},
    "stamped chain": {"chain": [add(1), stamps(2), stamps(3)]},
    "stamped group": {"group": [stamps(1), stamps(2)]},
    "stamped chord": {"chord": {"header": [stamps(1), stamps(2)], "body": stamps(3)}},
    "stamped chain > group > task": {
        "chain": [add(1), {"group": [stamps(2), stamps(3)]}, stamps(4)]
    },
    "stamped retry": {"task": "golden.stamps_again", "args": [1]},
}
"""Kinds whose signature carries `STAMPS`, by `Signature.stamp` of Celery's client."""
STAMPS: dict[str, Any] = {"tenant": "acme", "release": 7}
ASKED: dict[str, list[Any]] = {
    "ping": ["ping", {}],
    "rate_limit": ["rate_limit", {"task_name": "golden.add", "rate_limit": "100/s"}],
    "no such task": ["rate_limit", {"task_name": "golden.gone", "rate_limit": "100/s"}],
    "no such limit": ["rate_limit", {"task_name": "golden.add", "rate_limit": "often"}],
    "time_limit": ["time_limit", {"task_name": "golden.add", "soft": 20, "hard": 30}],
    "add_consumer": ["add_consumer", {"queue": "more"}],
    "cancel_consumer": ["cancel_consumer", {"queue": "more"}],
    "pool_grow": ["pool_grow", {"n": 1}],
    "pool_shrink": ["pool_shrink", {"n": 1}],
    "autoscale": ["autoscale", {"max": 3, "min": 1}],
    "enable_events": ["enable_events", {}],
    "disable_events": ["disable_events", {}],
    "revoke": ["revoke", {"task_id": "gone"}],
    "terminate": ["terminate", {"task_id": "gone"}],
    "revoke_by_stamped_headers": ["revoke_by_stamped_headers", {"headers": {"tenant": ["none"]}}],
    "active": ["broadcast", {"command": "active"}],
    "reserved": ["broadcast", {"command": "reserved"}],
    "scheduled": ["broadcast", {"command": "scheduled"}],
    "revoked": ["broadcast", {"command": "revoked"}],
    "registered": ["broadcast", {"command": "registered"}],
    "active_queues": ["broadcast", {"command": "active_queues"}],
    "query_task": ["broadcast", {"command": "query_task", "arguments": {"ids": ["gone"]}}],
    "no such command": ["broadcast", {"command": "gone"}],
}
"""What a worker is asked: a method of `app.control` and its arguments."""
