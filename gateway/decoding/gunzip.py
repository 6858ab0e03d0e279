"""Gzip undone piece by piece, within bounds of size and of work. Pure.

A gzip body may be several members (RFC 1952, section 2.2). Each costs a state of its own, and a
member or block may be empty: what expands to nothing is bounded as well as what expands too much.
"""

import zlib
from collections.abc import Iterator
from typing import Final

_WINDOW: Final = 16 + zlib.MAX_WBITS
_INPUT_BYTES: Final = 16 * 1024
"""Given to zlib at a time: what it leaves over it copies."""
_FREE_MEMBERS: Final = 1000
_MEMBER_BYTES: Final = 64
"""What members beyond the first thousand must hold on average."""
_FREE_BYTES: Final = 64 * 1024
_WORST_RATIO: Final = 4
"""So many octets of gzip for one of the body, at most, beyond the first 64 KiB: an honest one has
hardly more than one, lines flushed one by one two."""


class BadGzipError(Exception):
    """The body is not gzip, or not worth its work; the text says why."""


class Gunzip:
    """Expands one body.

    Args:
        piece_bytes: Bound of each piece that comes out.
    """

    def __init__(self, piece_bytes: int) -> None:
        self._piece_bytes = piece_bytes
        self._inflate = zlib.decompressobj(_WINDOW)
        self._members = 1
        self._taken = 0
        self._given = 0

    def feed(self, compressed: bytes) -> Iterator[bytes]:
        """Yield what octets expand to; an empty piece is a chance to leave the loop to others.

        Raises:
            BadGzipError: They are not what gzip may be.
        """
        for start in range(0, len(compressed), _INPUT_BYTES):
            pending = compressed[start : start + _INPUT_BYTES]
            self._taken += len(pending)
            while pending:
                if self._inflate.eof:
                    self._begin_member()
                try:
                    piece = self._inflate.decompress(pending, self._piece_bytes)
                except zlib.error as error:
                    raise BadGzipError(str(error)) from None
                pending = self._inflate.unconsumed_tail or self._inflate.unused_data
                if piece:
                    self._given += len(piece)
                    yield piece
            if self._taken > _WORST_RATIO * self._given + _FREE_BYTES:
                raise BadGzipError("it expands to much less than itself")
            yield b""

    def end(self) -> None:
        """End the body.

        Raises:
            BadGzipError: The last member has not.
        """
        if not self._inflate.eof:
            raise BadGzipError("it ends too early")

    def _begin_member(self) -> None:
        self._members += 1
        if self._members > _FREE_MEMBERS + self._given // _MEMBER_BYTES:
            raise BadGzipError(f"its members hold less than {_MEMBER_BYTES} bytes each")
        self._inflate = zlib.decompressobj(_WINDOW)
