"""The bytes of Redis' protocol (RESP2) as far as a subscribed connection needs them. Pure.

hiredis reads a notice of 400 octets in 0.2 to 0.4 µs where this takes 1.0 to 1.3, one of 8 KiB in
2 instead of 4, and one of 4 MiB in reads of 256 KiB in 630 instead of 360. That microsecond is a
few per cent of what a notice costs until it is written to a socket. It is not used because redis-py
takes hiredis, once it is installed, for the commands of the gateway and of the workers, too.
"""

from typing import Final

_MESSAGE: Final = b"*3\r\n$7\r\nmessage\r\n$"
Reply = list[bytes | int | None]
"""An array of bulk strings and integers, or a simple string alone in one."""


def command(*words: bytes) -> bytes:
    """Encode one command."""
    parts = (b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n" % len(words) + b"".join(parts)


class ProtocolError(Exception):
    """The other side does not speak RESP2."""


class Incomplete(Exception):  # noqa: N818  # it is no error: more bytes are to come
    """The reply is not all there yet.

    Args:
        wanted: Octets that the buffer needs at least before it is worth another look.
    """

    def __init__(self, wanted: int) -> None:
        super().__init__(wanted)
        self.wanted = wanted


class Replies:
    """Chunks of bytes in, whole array replies out."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._wanted = 0

    def feed(self, chunk: bytes) -> list[Reply]:
        """Take the next bytes and return the replies that they complete.

        A reply of megabytes is joined once, when all of it has come, not at every chunk.

        Raises:
            ProtocolError: The bytes make no sense.
        """
        self._chunks.append(chunk)
        self._size += len(chunk)
        replies: list[Reply] = []
        if self._size < self._wanted:
            return replies
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        position = 0
        self._wanted = 0
        try:
            while position < len(data):
                reply, position = _array(data, position)
                replies.append(reply)
        except Incomplete as incomplete:
            self._wanted = incomplete.wanted - position
        data = data[position:]
        self._chunks = [data] if data else []
        self._size = len(data)
        return replies


def _line(data: bytes, start: int) -> tuple[int, int]:
    """The integer of a header line, and where the next element begins."""
    end = data.find(b"\r\n", start)
    if end < 0:
        raise Incomplete(len(data) + 1)
    try:
        return int(data[start:end]), end + 2
    except ValueError:
        raise ProtocolError(repr(data[start - 1 : end])[:200]) from None


def _message(data: bytes, position: int) -> tuple[Reply, int] | None:
    """A notice, which is nearly all that ever comes, in short; None: look at it at length."""
    try:
        start = data.index(b"\r\n", position + len(_MESSAGE)) + 2
        end = start + int(data[position + len(_MESSAGE) : start - 2])
        channel = data[start:end]
        position = end + 3  # CR, LF and the dollar sign
        start = data.index(b"\r\n", position) + 2
        end = start + int(data[position : start - 2])
    except ValueError:
        return None
    return ([b"message", channel, data[start:end]], end + 2) if end + 2 <= len(data) else None


def _array(data: bytes, position: int) -> tuple[Reply, int]:
    if data.startswith(_MESSAGE, position) and (found := _message(data, position)) is not None:
        return found
    if data[position] == 0x2B:  # +: PONG, while nothing is subscribed
        end = data.find(b"\r\n", position)
        if end < 0:
            raise Incomplete(len(data) + 1)
        return [data[position + 1 : end]], end + 2
    if data[position] != 0x2A:  # *
        raise ProtocolError(repr(data[position : position + 100]))
    count, position = _line(data, position + 1)
    items: Reply = []
    for _ in range(count):
        if position >= len(data):
            raise Incomplete(len(data) + 1)
        kind = data[position]
        number, position = _line(data, position + 1)
        if kind == 0x3A:  # :
            items.append(number)
        elif kind != 0x24:  # $
            raise ProtocolError(repr(data[position : position + 100]))
        elif number < 0:
            items.append(None)
        else:
            end = position + number
            if len(data) < end + 2:
                raise Incomplete(end + 2)
            items.append(data[position:end])
            position = end + 2
    return items, position
