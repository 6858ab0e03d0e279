"""Reads the socket of the consumer's connection: many deliveries at a time.

py-amqp reads a frame by three calls of the system, and Celery's event loop turns once for each
message. Here what has come is read at once, the deliveries of tasks that the pool knows are handed
to it, and every other frame goes to py-amqp, byte for byte. What is not all here yet stays in
py-amqp's own buffer, where a synchronous call (`queue_declare`) finds it.

Of py-amqp three inner names are used: `transport._read_buffer`, and `on_inbound_frame` and
`bytes_recv` of the connection, by which heartbeats are counted.
"""

import errno
import ssl
from collections.abc import Callable
from typing import Any

from amqp.transport import SSLTransport, TCPTransport

from penstock.worker.asyncio_pool.amqp_frames import (
    DELIVER,
    METHOD,
    Delivery,
    UnusualFrame,
    delivery_at,
    frame_at,
)

_AT_ONCE = 256 * 1024
"""Octets read by one call."""
_LARGE = 1024 * 1024
"""A delivery that is longer, and not all here, is put together by py-amqp."""

Take = Callable[[Delivery], bool]
"""Takes a delivery, or leaves it (False) to Celery; it reads nothing from the connection."""


class Reader:
    """Reads one connection, on the consumer's thread.

    Args:
        connection: py-amqp's.
        channel: number of the channel on which tasks are consumed.
        take: is offered each delivery on it.
        taken: called when those that came together were offered.
    """

    def __init__(
        self, connection: Any, channel: int, take: Take, taken: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._take = take
        self._taken = taken

    @staticmethod
    def reads(connection: Any) -> bool:
        """Return whether it is a connection that can be read so."""
        return type(connection.transport) in {TCPTransport, SSLTransport}

    def on_readable(self) -> None:
        """Read what has come; a server that closed the connection is py-amqp's to find."""
        connection = self._connection
        transport = connection.transport
        try:
            data = self._receive(transport.sock)
        except ssl.SSLWantReadError:  # a part of a record
            return
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EINTR}:
                return
            transport.connected = False
            raise
        if not data:
            transport.connected = False
            raise ConnectionResetError(errno.ECONNRESET, "the broker closed the connection")
        try:
            self._parse(transport._read_buffer + data)  # noqa: SLF001  # see above
        finally:
            self._taken()

    @staticmethod
    def _receive(sock: Any) -> bytes:
        """Read what has come, without waiting for more."""
        if not isinstance(sock, ssl.SSLSocket):
            return sock.recv(_AT_ONCE)  # type: ignore[no-any-return]  # a socket's
        before = sock.gettimeout()
        sock.settimeout(0)  # a record that is not all here
        try:
            data = sock.recv(_AT_ONCE)
            while sock.pending():
                data += sock.recv(sock.pending())
        finally:
            sock.settimeout(before)
        return data

    def _parse(self, data: bytes) -> None:
        connection, channel, begin = self._connection, self._channel, 0
        while True:
            frame = frame_at(data, begin)
            if frame is None:
                break
            kind, of, end = frame
            if kind == METHOD and of == channel and data[begin + 7 : begin + 11] == DELIVER:
                try:
                    delivery = delivery_at(data, begin, channel)
                except UnusualFrame:
                    delivery = None
                else:
                    if delivery is None and len(data) - begin < _LARGE:
                        break  # the rest comes
                if delivery is not None and self._take(delivery):
                    connection.bytes_recv += delivery.frames
                    begin = delivery.end
                    continue
            # What it makes of the frame may read on by itself.
            transport = connection.transport
            transport._read_buffer = data[end:]  # noqa: SLF001
            connection.on_inbound_frame((kind, of, data[begin + 7 : end - 1]))
            transport = connection.transport
            if transport is None:
                return
            data, begin = transport._read_buffer, 0  # noqa: SLF001
        connection.transport._read_buffer = data[begin:]  # noqa: SLF001
