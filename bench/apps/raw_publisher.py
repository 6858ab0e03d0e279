"""RabbitMQ's limit for one publisher: the gateway's frames, encoded beforehand, on a plain socket.

At most 2,000 messages are unconfirmed. Prints one line of JSON. `python -m … SECONDS`
"""

import contextlib
import json
import os
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import parse_qs, unquote, urlsplit

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


def connected() -> amqp.Connection:
    """A connection to AMQP_URL."""
    url = urlsplit(os.environ["AMQP_URL"])
    connection = amqp.Connection(
        f"{url.hostname}:{url.port}",
        userid=unquote(url.username or "guest"),
        password=unquote(url.password or "guest"),
        heartbeat=0,
        # py-amqp gives up when RabbitMQ reads nothing for a second, as it does of a busy publisher
        socket_settings={socket.TCP_USER_TIMEOUT: 60_000},
        ssl={"ca_certs": parse_qs(url.query)["cafile"][0]} if url.scheme == "amqps" else False,
    )
    connection.connect()
    return connection


def publish(channel: amqp.Channel, batches: Iterable[Sequence[bytes]]) -> Confirms:
    """Write messages to the socket and return when each is confirmed or refused.

    Args:
        channel: In confirm mode.
        batches: Messages as frames; written together, so batches of large ones are small.
    """
    sock: socket.socket = channel.connection.transport.sock
    patience_s = sock.gettimeout()
    sock.settimeout(0)
    confirms = Confirms()
    sent, pending, coming = 0, memoryview(b""), iter(batches)
    batch = next(coming, None)
    while batch or pending or confirms.confirmed + confirms.refused < sent:
        open_ = sent - confirms.confirmed - confirms.refused
        if batch and not pending and (not open_ or open_ <= _UNCONFIRMED - len(batch)):
            pending = memoryview(b"".join(batch))
            sent += len(batch)
            batch = next(coming, None)
        readable, writable, _ = select.select([sock], [sock] if pending else [], [], 1.0)
        if readable:
            _receive(sock, confirms)
        if writable:
            pending = _send(sock, pending)
    sock.settimeout(patience_s)
    return confirms


def _receive(sock: socket.socket, confirms: Confirms) -> None:
    with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
        while data := sock.recv(65_536):
            confirms.feed(data)


def _send(sock: socket.socket, pending: memoryview) -> memoryview:
    try:
        return pending[sock.send(pending) :]
    except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
        return pending


def _for(seconds: float, batch: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        yield batch


def main() -> None:
    connection = connected()
    channel = connection.channel()
    channel.confirm_select()
    one = message(channel.channel_id)
    started, cpu_before = time.monotonic(), time.process_time()
    confirms = publish(channel, _for(float(sys.argv[1]), [one] * _BATCH))
    elapsed = time.monotonic() - started
    connection.close()
    print(
        json.dumps(
            {
                "messages": confirms.confirmed,
                "refused": confirms.refused,
                "seconds": elapsed,
                "cpu_s": time.process_time() - cpu_before,
                "message_bytes": len(one),
            }
        )
    )


if __name__ == "__main__":
    main()
