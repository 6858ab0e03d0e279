"""Deliveries of AMQP 0-9-1 in the bytes of a connection, read quickly. Pure.

Only what task messages consist of is read here: a method frame `Basic.Deliver`, a header frame with
properties of simple types, and body frames. Whatever is rarer is left to py-amqp. Sources: the
AMQP 0-9-1 specification, 2.3.5 and 4.2.5, with RabbitMQ's field types
(https://www.rabbitmq.com/docs/amqp-0-9-1-errata).
"""

from struct import Struct
from struct import error as StructError  # noqa: N812  # it is a class
from typing import Any, NamedTuple

FRAME_END = 0xCE
FRAME_OVERHEAD = 8
"""Octets of a frame besides its payload: type, channel, size, and the end."""
METHOD, HEADER, BODY = 1, 2, 3
DELIVER = bytes((0, 60, 0, 60))
"""Class and method of `Basic.Deliver`."""

_FRAME = Struct(">BHI").unpack_from
_LONGLONG = Struct(">Q").unpack_from
_HEADER = Struct(">HHQH").unpack_from
_LENGTH = Struct(">I").unpack_from
_ACK = Struct(">BHIHHQBB").pack
_FIXED = {
    ord(kind): (form.unpack_from, form.size)
    for kind, form in {
        "b": Struct(">b"), "B": Struct(">B"), "s": Struct(">h"), "u": Struct(">H"),
        "I": Struct(">i"), "i": Struct(">I"), "l": Struct(">q"), "d": Struct(">d"),
    }.items()
}  # fmt: skip
_S, _V, _T, _A, _F = map(ord, "SVtAF")
_WORD = "word"
_SHORT = "short"
_OCTET = "octet"
_PROPERTIES = (
    (0x8000, "content_type", _WORD), (0x4000, "content_encoding", _WORD),
    (0x2000, "application_headers", "table"), (0x1000, "delivery_mode", _OCTET),
    (0x0800, "priority", _OCTET), (0x0400, "correlation_id", _SHORT),
    (0x0200, "reply_to", _SHORT), (0x0100, "expiration", _SHORT), (0x0080, "message_id", _SHORT),
    (0x0040, "timestamp", "timestamp"), (0x0020, "type", _WORD), (0x0010, "user_id", _WORD),
    (0x0008, "app_id", _WORD),
)  # fmt: skip
_WORDS_IN_HEADERS = frozenset(("task", "lang", "origin"))
_MOST_WORDS = 4096
_words: dict[bytes, str] = {}
"""Texts that most messages share, kept once: a message waits with its headers until it has ended.
Only the first ones, whoever sends others."""


class Delivery(NamedTuple):
    """One delivery."""

    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: dict[str, Any]
    body: bytes
    end: int
    """Where the next frame begins."""
    frames: int


class UnusualFrame(Exception):  # noqa: N818  # no error
    """Something that is left to py-amqp."""


def frame_at(data: bytes, begin: int) -> tuple[int, int, int] | None:
    """Return type, channel and end of the frame that begins there; None: it is not all here."""
    if len(data) - begin < FRAME_OVERHEAD:
        return None
    kind, channel, size = _FRAME(data, begin)
    end = begin + FRAME_OVERHEAD + size
    return None if end > len(data) else (kind, channel, end)


def delivery_at(data: bytes, begin: int, channel: int) -> Delivery | None:
    """Return the delivery whose first frame, which is all here, begins there.

    Args:
        data: of the connection.
        begin: of a method frame `Basic.Deliver` on the channel.
        channel: its number.

    Returns:
        None: its last frame is not all here.

    Raises:
        UnusualFrame: it has something in it that is left to py-amqp, or is none.
    """
    found = frame_at(data, begin)
    header = frame_at(data, found[2]) if found is not None else None
    if found is None or header is None:
        return None
    if header[0] != HEADER or header[1] != channel:
        raise UnusualFrame
    _, _, size, flags = _HEADER(data, found[2] + 7)
    body, end, frames = _body(data, header[2], channel, size)
    if body is None:
        return None
    try:
        consumer_tag, at = _short(data, begin + 11)
        (delivery_tag,) = _LONGLONG(data, at)
        exchange, at_key = _short(data, at + 9)
        routing_key, _ = _short(data, at_key)
        properties = _properties(data, found[2] + 21, flags)
    except (UnicodeDecodeError, IndexError, StructError):
        raise UnusualFrame from None
    return Delivery(
        consumer_tag, delivery_tag, bool(data[at + 8]), exchange, routing_key, properties, body,
        end, frames,
    )  # fmt: skip


def _body(data: bytes, begin: int, channel: int, size: int) -> tuple[bytes | None, int, int]:
    """Return the body whose frames begin there, where they end, and how many frames in all."""
    parts: list[bytes] = []
    left, frames = size, 2
    while left > 0:
        frame = frame_at(data, begin)
        if frame is None:
            return None, begin, frames
        kind, of, end = frame
        if kind != BODY or of != channel:
            raise UnusualFrame
        parts.append(data[begin + 7 : end - 1])
        left -= end - begin - FRAME_OVERHEAD
        begin = end
        frames += 1
    return (parts[0] if len(parts) == 1 else b"".join(parts)), begin, frames


def _word(raw: bytes) -> str:
    """Decode a text that many messages have."""
    text = raw.decode()
    if len(_words) < _MOST_WORDS:
        _words[raw] = text
    return text


def _short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    raw = data[at + 1 : end]
    return _words.get(raw) or _word(raw), end


def _properties(data: bytes, at: int, flags: int) -> dict[str, Any]:
    if flags & 0x0007:  # more flags follow, or what nobody sends
        raise UnusualFrame
    found: dict[str, Any] = {}
    for bit, name, kind in _PROPERTIES:
        if not flags & bit:
            continue
        if kind is _SHORT:
            end = at + 1 + data[at]
            found[name] = data[at + 1 : end].decode()
            at = end
        elif kind is _WORD:
            found[name], at = _short(data, at)
        elif kind is _OCTET:
            found[name] = data[at]
            at += 1
        elif kind == "table":
            (size,) = _LENGTH(data, at)
            at += 4
            found[name] = _table(data, at, at + size)
            at += size
        else:
            raise UnusualFrame  # a timestamp, which py-amqp makes a datetime
    return found


def _table(data: bytes, at: int, end: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while at < end:
        begin = at + 1
        at = begin + data[at]
        raw = data[begin:at]
        name = _words.get(raw) or _word(raw)
        kind = data[at]
        at += 1
        if kind == _V:
            found[name] = None
        elif kind == _S:
            begin = at + 4
            at = begin + _LENGTH(data, at)[0]
            raw = data[begin:at]
            if name in _WORDS_IN_HEADERS:
                found[name] = _words.get(raw) or _word(raw)
            else:
                found[name] = raw.decode()
        else:
            found[name], at = _value(data, at, kind)
    return found


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == _V:
        return None, at
    if kind == _T:
        return data[at] != 0, at + 1
    if kind in _FIXED:
        unpack, size = _FIXED[kind]
        return unpack(data, at)[0], at + size
    if kind not in (_S, _A, _F):
        raise UnusualFrame
    (size,) = _LENGTH(data, at)
    at += 4
    end = at + size
    if kind == _S:
        return data[at:end].decode(), end
    if kind == _F:
        if size:
            raise UnusualFrame  # tables in tables: x-death, stamps
        return {}, end
    values = []
    while at < end:
        value, at = _value(data, at + 1, data[at])
        values.append(value)
    return values, end


def acks(channel: int, delivery_tags: list[int]) -> bytes:
    """Return `Basic.Ack` for each of these deliveries."""
    return b"".join([_ACK(1, channel, 13, 60, 80, tag, 0, FRAME_END) for tag in delivery_tags])
