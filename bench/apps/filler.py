"""Fill a queue behind the exchange `tasks`, as fast as RabbitMQ confirms.

    python -m bench.apps.filler ROUTING_KEY COUNT TASKS_FILE [PREFIX]

The file has a JSON array of `{"task": …, "args": […]}`; message n is its entry n modulo its length,
and has the id PREFIX and n in twelve digits (PREFIX: 24 characters; random). Prints one line of
JSON, with the time of the first write.
"""

import itertools
import json
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.apps.raw_publisher import connected, publish
from gateway.rabbitmq.task_message import MessageOptions, Template, task_body, template

_MESSAGES_AT_ONCE = 100
_BYTES_AT_ONCE = 16_000_000
_FRAME_MAX = 131_072


def task_id(prefix: str, number: int) -> str:
    """The id of one message of a run."""
    return f"{prefix}{number:012}"


def new_prefix() -> str:
    """The part of ids that a run has for itself: with the number, as long as a UUID."""
    return secrets.token_hex(12)


class Messages:
    """The messages of one run."""

    def __init__(self, routing_key: str, tasks: Sequence[dict[str, Any]], prefix: str) -> None:
        self._prefix = prefix
        self._entries: list[tuple[Template, bytes]] = [
            (
                template(
                    one["task"], "tasks", routing_key, MessageOptions(),
                    origin=f"penstock@{socket.gethostname()}",
                    id_length=len(task_id(prefix, 0)),
                ),
                task_body(json.dumps(one["args"]).encode(), b"{}"),
            )
            for one in tasks
        ]  # fmt: skip

    def batches(self, channel: int, count: int) -> Iterator[list[bytes]]:
        """That many messages as frames, so many at once as are good for one write."""
        largest = max(len(body) for _, body in self._entries)
        at_once = max(1, min(_MESSAGES_AT_ONCE, _BYTES_AT_ONCE // (largest + 1000)))
        for start in range(0, count, at_once):
            numbers = range(start, min(count, start + at_once))
            yield [self._frames(channel, number) for number in numbers]

    def _frames(self, channel: int, number: int) -> bytes:
        made, body = self._entries[number % len(self._entries)]
        return made.frames(
            channel=channel.to_bytes(2, "big"),
            task_id=task_id(self._prefix, number).encode(),
            body=body,
            frame_max=_FRAME_MAX,
        )


def main() -> None:
    routing_key, count, file, *rest = sys.argv[1:]
    tasks = json.loads(Path(file).read_text(encoding="utf-8"))
    connection = connected()
    channel = connection.channel()
    channel.confirm_select()
    messages = Messages(routing_key, tasks, rest[0] if rest else new_prefix())
    batches = messages.batches(channel.channel_id, int(count))
    first = next(batches)
    started, at = time.monotonic(), time.time()
    confirms = publish(channel, itertools.chain((first,), batches))
    elapsed = time.monotonic() - started
    connection.close()
    print(
        json.dumps(
            {
                "confirmed": confirms.confirmed,
                "refused": confirms.refused,
                "started": at,
                "seconds": elapsed,
            }
        )
    )


if __name__ == "__main__":
    main()
