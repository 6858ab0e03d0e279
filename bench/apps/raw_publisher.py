"""RabbitMQ's limit for one publisher: the gateway's frames, encoded beforehand, on a plain socket.

At most 2,000 messages are unconfirmed. Prints one line of JSON. `python -m … SECONDS`
"""

import json
import os
import select
import socket
import struct
import sys
import time
from urllib.parse import unquote, urlsplit

import amqp

from gateway.rabbitmq.task_message import MessageOptions, task_body, template

_UNCONFIRMED = 2000
_BATCH = 100
_ACK, _NACK = (60, 80), (60, 120)
_TASK_ID = "01a2b3c4-d5e6-7f01-8a2b-c3d4e5f60718-0100a1b2c3d4e5f60718"


def message(channel: int) -> bytes:
    """One submit of demo.add as the gateway writes it."""
    made = template(
        "demo.add",
        "tasks",
        "default",
        MessageOptions(),
        origin=f"penstock@{socket.gethostname()}",
        id_length=len(_TASK_ID),
    )
    return made.frames(
        channel=channel.to_bytes(2, "big"),
        task_id=_TASK_ID.encode(),
        body=task_body(b"[2,3]", b"{}"),
        frame_max=131_072,
    )


class Confirms:
    """Counts confirms in what the socket gives."""

    def __init__(self) -> None:
        self.confirmed = 0
        self.refused = 0
        self._rest = b""
        self._lowest = 1

    def feed(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= 8:
            kind, _, size = struct.unpack_from(">BHI", data, at)
            if len(data) - at < size + 8:
                break
            if kind == 1:
                self._method(data[at + 7 : at + 7 + size])
            at += size + 8
        self._rest = data[at:]

    def _method(self, payload: bytes) -> None:
        method = struct.unpack_from(">HH", payload)
        if method not in {_ACK, _NACK}:
            raise RuntimeError(f"RabbitMQ said {method}")
        tag, bits = struct.unpack_from(">QB", payload, 4)
        count = tag - self._lowest + 1 if bits & 1 else 1
        if bits & 1:
            self._lowest = tag + 1
        elif tag == self._lowest:
            self._lowest += 1
        if method == _ACK:
            self.confirmed += count
        else:
            self.refused += count


def main() -> None:
    seconds = float(sys.argv[1])
    url = urlsplit(os.environ["AMQP_URL"])
    connection = amqp.Connection(
        f"{url.hostname}:{url.port}",
        userid=unquote(url.username or "guest"),
        password=unquote(url.password or "guest"),
        heartbeat=0,
    )
    connection.connect()
    channel = connection.channel()
    channel.confirm_select()
    batch = message(channel.channel_id) * _BATCH
    sock: socket.socket = connection.transport.sock
    sock.settimeout(0)
    confirms = Confirms()
    sent, pending = 0, memoryview(b"")
    started, cpu_before = time.monotonic(), time.process_time()
    while True:
        over = time.monotonic() - started >= seconds
        if over and confirms.confirmed + confirms.refused >= sent and not pending:
            break
        room = sent - confirms.confirmed - confirms.refused <= _UNCONFIRMED - _BATCH
        if not pending and room and not over:
            pending = memoryview(batch)
            sent += _BATCH
        readable, writable, _ = select.select([sock], [sock] if pending else [], [], 1.0)
        if readable:
            confirms.feed(sock.recv(65_536))
        if writable:
            pending = pending[sock.send(pending) :]
    elapsed = time.monotonic() - started
    print(
        json.dumps(
            {
                "messages": confirms.confirmed,
                "refused": confirms.refused,
                "seconds": elapsed,
                "cpu_s": time.process_time() - cpu_before,
                "message_bytes": len(batch) // _BATCH,
            }
        )
    )


if __name__ == "__main__":
    main()
