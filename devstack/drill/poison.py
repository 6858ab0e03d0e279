"""Messages that are no tasks, and tasks in foreign envelopes: the workers must live.

The former become dead letters; the latter are executed or become dead letters.
"""

from collections.abc import Mapping
from typing import Any

import aio_pika
import orjson

from devstack.drill.direct import task_message
from devstack.drill.receipts import Ledger
from devstack.drill.rig import Rig

POISON: Mapping[str, Mapping[str, Any]] = {
    "not JSON": {"raw": b"{nonsense"},
    "not UTF-8": {"raw": b'[["\xff"], {}, {}]'},
    "a number": {"raw": b"5"},
    "null": {"raw": b"null"},
    "too short": {"raw": b"[1]"},
    "an object": {"raw": b'{"x": 1}'},
    "empty": {"raw": b""},
    "no id": {"without": "id"},
    "no task": {"without": "task"},
    "an id that is no text": {"id": 5},
    "an unknown task": {"task": "drill.unheard"},
    "a task that is a list": {"task": ["demo.add"]},
    "arguments that are no list": {"raw": b"[5, {}, {}]"},
    "limits that are no pair": {"timelimit": 5},
    "retries that are no number": {"retries": "many"},
    "an eta that is no time": {"eta": "soon"},
}
"""Every kind, as what differs from a sound message."""
_FOLLOW = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def _envelope(**options: Any) -> Mapping[str, Any]:
    return {"raw": orjson.dumps([[1, 2], {}, {**_FOLLOW, **options}])}


FOREIGN: Mapping[str, Mapping[str, Any]] = {
    **{
        f"{name} = {value!r}": {name: value}
        for name in ("_children", "headers", "called_directly", "_get_custom_headers", "get", "id_")
        for value in (1, "x", [1], {"a": [None]})
    },
    "an unknown compression": {"compression": "x"},
    "stamps that are options": {"stamped_headers": ["task_id"], "stamps": {"task_id": 5}},
    "a reply_to that is a table": {"reply_to": {"a": 1}},
    "callbacks that are no list": _envelope(callbacks=5),
    "errbacks that are no signatures": _envelope(errbacks=[5], chain=["x"]),
    "a chord that is none": _envelope(chord={"task": "demo.total"}),
    "a link to nowhere": _envelope(callbacks=[{"task": "demo.add", "options": {"queue": "x-no"}}]),
    "options that replace attributes": _envelope(_children=1, id=5, hostname=[], delivery_info=1),
}
"""Every kind of what other applications may add, as what differs from a sound message."""
QUEUES = ("default", "high_priority")
"""One of each pool."""


async def publish_poison(rig: Rig, ledger: Ledger) -> None:
    """Publish each kind once to a queue of each pool; the ledger gets the message ids."""
    await _publish(rig, POISON, ledger.poison)


async def publish_foreign(rig: Rig, ledger: Ledger) -> None:
    """Publish each foreign kind once to a queue of each pool; the ledger gets the ids."""
    await _publish(rig, FOREIGN, ledger.foreign)


async def _publish(rig: Rig, kinds: Mapping[str, Mapping[str, Any]], ids: list[str]) -> None:
    async with await aio_pika.connect(rig.stack.rabbit.url) as connection:
        channel = await connection.channel()
        for queue in QUEUES:
            for different in kinds.values():
                message = task_message(**{"task": "demo.add", "args": [1, 2], **different})
                await channel.default_exchange.publish(message, queue)
                ids.append(str(message.message_id))
