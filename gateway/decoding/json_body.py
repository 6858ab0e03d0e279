"""A JSON body as documents: the elements of an array, else the whole body as one. Pure."""

from collections.abc import Iterator

from gateway.decoding.json_array import ArraySplitter
from gateway.decoding.splitter import TOO_LONG, WHITESPACE, MalformedBodyError


class JsonSplitter:
    """Cuts a body that may be an array.

    Args:
        max_document_bytes: A longer document becomes `TOO_LONG`.
    """

    def __init__(self, max_document_bytes: int) -> None:
        self._max_bytes = max_document_bytes
        self._array: ArraySplitter | None = None
        self._whole = bytearray()
        self._size = 0

    @property
    def pending_bytes(self) -> int:
        """Octets held back until more comes."""
        return self._array.pending_bytes if self._array else len(self._whole)

    @property
    def one_value(self) -> bool:
        """Always."""
        return True

    def path(self, number: int) -> str:
        """Return where a document is: `$[2]` is an array's third element, `$` the whole body."""
        return self._array.path(number) if self._array else "$"

    def feed(self, chunk: bytes) -> Iterator[list[bytes]]:
        """Yield the elements that end in a chunk.

        Raises:
            MalformedBodyError: What came is not the beginning of an array.
        """
        if self._array is None and not self._size:
            chunk = chunk.lstrip(WHITESPACE)
            if chunk[:1] == b"[":
                self._array = ArraySplitter(self._max_bytes)
        if self._array is not None:
            yield from self._array.feed(chunk)
            return
        self._size += len(chunk)
        if self._size <= self._max_bytes:
            self._whole += chunk
        else:
            self._whole.clear()

    def end(self) -> Iterator[list[bytes]]:
        """Yield the whole body, unless it was an array.

        Raises:
            MalformedBodyError: The array has not ended, or there is no body.
        """
        if self._array is not None:
            yield from self._array.end()
            return
        if not self._size:
            raise MalformedBodyError("the body is empty")
        yield [bytes(self._whole) if self._size <= self._max_bytes else TOO_LONG]
