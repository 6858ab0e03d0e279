"""Bodies that cost a server more than their sender, each of some kind that was once dear here."""

import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """One request's body."""

    path: str
    body: bytes
    media_type: str = JSON
    packed: bool = False
    """Sent as gzip."""
    chunk_bytes: int = 0
    """Sent in chunks of so many octets; 0: with its length."""
    wire: bytes | None = None
    """What is sent in place of the body: gzip that no packer makes."""

    @property
    def sent(self) -> bytes:
        """The octets behind the head of the request."""
        body = self.body if self.wire is None else self.wire
        if self.packed and self.wire is None:
            body = gzip.compress(body, 6)
        if not self.chunk_bytes:
            return body
        size = self.chunk_bytes
        full, left = divmod(len(body), size)
        last = b"%x\r\n%b\r\n" % (left, body[-left:]) if left else b""
        return _framed(body[: full * size], size) + last + b"0\r\n\r\n"

    def request(self, key: str = "") -> bytes:
        """All of the request."""
        sent = self.sent
        length = (
            "Transfer-Encoding: chunked" if self.chunk_bytes else f"Content-Length: {len(sent)}"
        )
        lines = [
            f"POST {self.path} HTTP/1.1",
            "Host: localhost",
            f"Content-Type: {self.media_type}",
            length,
            "Connection: close",
        ]
        if self.packed or self.wire is not None:
            lines.append("Content-Encoding: gzip")
        if key:
            lines.append(f"Authorization: Bearer {key}")
        return "\r\n".join([*lines, "", ""]).encode() + sent


def _framed(body: bytes, size: int) -> bytes:
    """Chunks of one size, put together column by column: a megabyte has a million of them."""
    head, tail = b"%x\r\n" % size, b"\r\n"
    count, width = len(body) // size, len(head) + size + len(tail)
    chunks = bytearray((head + bytes(size) + tail) * count)
    for place in range(size):
        chunks[len(head) + place :: width] = body[place::size]
    return bytes(chunks)


def filled(unit: bytes, size: int, head: bytes = b"", tail: bytes = b"") -> bytes:
    """A unit as often as it fits between two ends."""
    return head + unit * max(0, (size - len(head) - len(tail)) // len(unit)) + tail


_INGEST: Final = "/v1/ingest/hostile"
_SKIP: Final = "/v1/ingest/hostile?on_error=skip"
_BULK: Final = "/v1/tasks/bulk"
_TASKS: Final = "/v1/tasks"


def _members(size: int) -> Hostile:
    return Hostile(path=_INGEST, media_type=NDJSON, body=b"", wire=filled(gzip.compress(b""), size))


def _blocks(size: int) -> Hostile:
    packer = zlib.compressobj(wbits=31)
    head = packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)
    return Hostile(
        path=_INGEST, media_type=NDJSON, body=b"", wire=filled(b"\0\0\0\xff\xff", size, head)
    )


BODIES: Final[Mapping[str, Callable[[int], Hostile]]] = {
    "blank lines, gzip": lambda size: Hostile(
        path=_INGEST, media_type=NDJSON, packed=True, body=filled(b"\n", size)
    ),
    "lines of a space, gzip": lambda size: Hostile(
        path=_INGEST, media_type=NDJSON, packed=True, body=filled(b" \n", size)
    ),
    "spaces as JSON, gzip": lambda size: Hostile(
        path=_INGEST, packed=True, body=filled(b" ", size, tail=b"{}")
    ),
    "empty gzip members": _members,
    "empty deflate blocks": _blocks,
    "bulk of {}": lambda size: Hostile(path=_BULK, body=filled(b"{},", size, b"[", b"{}]")),
    "bulk lines of {}": lambda size: Hostile(
        path=f"{_BULK}?outcomes=none", media_type=NDJSON, body=filled(b"{}\n", size)
    ),
    "bad lines, skipped": lambda size: Hostile(
        path=_SKIP, media_type=NDJSON, body=filled(b"x\n", size)
    ),
    "lines of 1e301, skipped": lambda size: Hostile(
        path=_SKIP, media_type=NDJSON, body=filled(b"1e301\n", size)
    ),
    "lines with $ keys, skipped": lambda size: Hostile(
        path=_SKIP, media_type=NDJSON, body=filled(b'{"$":1}\n', size)
    ),
    "unclosed [[[[": lambda size: Hostile(path=_INGEST, body=filled(b"[", size)),
    "element of [[1]],": lambda size: Hostile(
        path=_SKIP, body=filled(b"[[1]],", size, b'[{"a":[', b"1]}]")
    ),
    'open string of \\"': lambda size: Hostile(path=_INGEST, body=filled(b'\\"', size, b'["')),
    "chunks of one byte": lambda size: Hostile(
        path=_INGEST, media_type=NDJSON, chunk_bytes=1, body=filled(b"x", size)
    ),
    "many keys": lambda size: Hostile(path=_INGEST, body=filled(b'"":{},', size, b"{", b'"":1}')),
    "1e300s in documents": lambda size: Hostile(
        path=_INGEST, body=filled(b"1e300,", size, b'{"a":[', b"1]}")
    ),
    "1e300s as arguments": lambda size: Hostile(
        path=_TASKS, body=filled(b"1e300,", size - 64, b'{"task":"demo.echo","args":[[', b"1]]}")
    ),
    "lists as arguments": lambda size: Hostile(
        path=_TASKS, body=filled(b"[],", size - 64, b'{"task":"demo.echo","args":[[', b"1]]}")
    ),
    "lists as headers": lambda size: Hostile(
        path=_TASKS,
        body=filled(
            b"[],", size - 99, b'{"task":"demo.echo","options":{"headers":{"a":[', b"1]}}}"
        ),
    ),
}
"""What it is → the request with a body of about so many octets."""
