"""What every cutter of a body has in common: chunks in, the raw JSON texts of its values out. Pure.

    LineSplitter    a text is a line of NDJSON           (`ndjson`)
    ArraySplitter   an element of a JSON array           (`json_array`)
    JsonSplitter    an element, or the body as a whole   (`json_body`)

A text may still be malformed inside: who uses it parses it.
"""

from collections.abc import Iterator
from typing import Final, Protocol

Part = list[bytes] | int
"""Consecutive texts, empty where a line is blank; or how many blank lines follow: a million of them
may be in one MiB, and they must cost next to nothing."""

TOO_LONG: Final = b"\x00too long"
"""Stands, by identity, for a text over its bound: read past, not kept."""
WHITESPACE: Final = b" \t\r\n"
"""JSON's."""


class MalformedBodyError(Exception):
    """The body is not what its media type says; the text says why."""


class Splitter(Protocol):
    """Cuts one body."""

    def feed(self, chunk: bytes) -> Iterator[Part]:
        """Yield the texts that end in a chunk, some at a time.

        Raises:
            MalformedBodyError: No such body begins like that.
        """

    def end(self) -> Iterator[Part]:
        """Yield the last texts: the body has ended.

        Raises:
            MalformedBodyError: Its value has not.
        """

    @property
    def pending_bytes(self) -> int:
        """Octets of the text that has begun and not ended."""

    @property
    def one_value(self) -> bool:
        """Whether all texts are parts of one JSON value, which a malformed one spoils."""

    def path(self, number: int) -> str:
        """Return where a text is in the body, as errors name it: `$`, or `$[2]` in an array.

        Args:
            number: Of the text, from 1, blank lines counted.
        """
