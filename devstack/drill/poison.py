"""Messages that are no tasks: each must become a dead letter, and the workers must live."""

from collections.abc import Mapping
from typing import Any

import aio_pika

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
QUEUES = ("default", "high_priority")
"""One of each pool."""


async def publish_poison(rig: Rig, ledger: Ledger) -> None:
    """Publish each kind once to a queue of each pool; the ledger gets the message ids."""
    async with await aio_pika.connect(rig.stack.rabbit.url) as connection:
        channel = await connection.channel()
        for queue in QUEUES:
            for different in POISON.values():
                message = task_message(**{"task": "demo.add", "args": [1, 2], **different})
                await channel.default_exchange.publish(message, queue)
                ledger.poison.append(str(message.message_id))
