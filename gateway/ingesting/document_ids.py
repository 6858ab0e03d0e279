"""New `_id`s for documents that have none. Pure but for the clock and the entropy."""

import os
import time
from hashlib import sha256
from typing import Final


class DocumentIds:
    """New `_id`s: the JSON of a UUIDv7 (RFC 9562, section 5.7), 38 bytes with its quotes.

    48 bits of milliseconds, 62 random bits that are drawn each millisecond and each 4,096
    ids, 12 bits of counter.
    """

    def __init__(self) -> None:
        self._prefix = b""
        self._millis = -1
        self._count = len(_COUNTERS)

    def next(self) -> bytes:
        """Return another id."""
        count = self._count
        millis = time.time_ns() // 1_000_000
        if millis != self._millis or count == len(_COUNTERS):
            self._prefix = _prefix(millis, os.urandom(8))
            self._millis = millis
            count = 0
        self._count = count + 1
        return self._prefix + _COUNTERS[count]


class SeededIds(DocumentIds):
    """The same `_id`s for the same seed: a request that is published again repeats its documents.

    Args:
        seed: A task id: its time becomes theirs, and it was never used for anything else.
    """

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._seed = seed
        self._millis = int(seed[:8] + seed[9:13], 16)
        self._blocks = 0

    def next(self) -> bytes:
        """Return another id."""
        if self._count == len(_COUNTERS):
            block = sha256(f"{self._seed}#{self._blocks}".encode()).digest()
            self._prefix = _prefix(self._millis, block[:8])
            self._blocks += 1
            self._count = 0
        self._count += 1
        return self._prefix + _COUNTERS[self._count - 1]


def _prefix(millis: int, entropy: bytes) -> bytes:
    """Return all of an id's JSON but its last three digits."""
    random = int.from_bytes(entropy, "big")
    head = f"{millis:012x}"
    return (
        f'"{head[:8]}-{head[8:]}-7{(random >> 14) & 0xFFF:03x}-{0x8000 | (random & 0x3FFF):04x}-'
        f"{(random >> 26) & 0xFFFFFFFFF:09x}"
    ).encode()


_COUNTERS: Final = tuple(b'%03x"' % number for number in range(4096))
