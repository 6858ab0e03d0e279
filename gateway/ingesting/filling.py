"""A batch that is being filled, within its bounds. Pure.

Both ways to make batches fill them here: one request's documents (`request_batches`), and single
documents of many requests (`group_commit`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MAX_BATCH_DOCUMENTS: Final = 1000
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
"""JSON of the documents of a batch; one larger document travels alone."""


@dataclass(slots=True)
class Batch(Generic[T]):
    """Documents that travel together."""

    documents: list[bytes]
    """The JSON of each, checked, with its `_id`."""
    owners: list[T]
    """What belongs to each: its `_id`, or the request that waits for it."""


class Filling(Generic[T]):
    """Gathers documents into batches."""

    __slots__ = ("_documents", "_owners", "size")

    def __init__(self) -> None:
        self._documents: list[bytes] = []
        self._owners: list[T] = []
        self.size = 0
        """Octets that the documents will take in a message; 0: there are none."""

    def add(self, documents: Sequence[bytes], owners: Sequence[T]) -> list[Batch[T]]:
        """Add documents, and return the batches that they fill.

        Args:
            documents: The JSON of each.
            owners: What belongs to each.
        """
        full: list[Batch[T]] = []
        start = 0
        while start < len(documents):
            part = documents[start : start + MAX_BATCH_DOCUMENTS - len(self._documents)]
            size = sum(map(len, part)) + len(part)
            if self.size + size > MAX_BATCH_BYTES:
                part = _fitting(part, MAX_BATCH_BYTES - self.size)
                if not part and not self._documents:
                    part = documents[start : start + 1]
                size = sum(map(len, part)) + len(part)
            self._documents += part
            self._owners += owners[start : start + len(part)]
            self.size += size
            start += len(part)
            if start < len(documents) or len(self._documents) == MAX_BATCH_DOCUMENTS:
                full.append(self.take())
        return full

    def take(self) -> Batch[T]:
        """Return what has gathered, however little, and begin another batch."""
        batch = Batch(self._documents, self._owners)
        self._documents, self._owners, self.size = [], [], 0
        return batch


def _fitting(documents: Sequence[bytes], room: int) -> Sequence[bytes]:
    """Return as many of the first documents, with their commas, as the room takes."""
    for index, document in enumerate(documents):
        room -= len(document) + 1
        if room < 0:
            return documents[:index]
    return documents
