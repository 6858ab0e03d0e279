"""Whether MongoDB is worth asking: while it is away, each wait would hold a slot of the pool."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.worker.errors import RetryableError

SLOW_S = 1.0
"""A failure that took longer has held a slot: what asks next is likely to wait as long."""


class Availability:
    """Refuses to ask a MongoDB that does not answer; one operation at a time may try again.

    ```
    answers ── a failure, and no server takes writes ──► away ── heartbeats see one ──► answers
       │  ▲                                                    each is refused meanwhile
       │  └── the one that tries succeeds, or fails at once ──┐
       └── a failure after over a second, or no answer ──► slow: one tries, others are refused
    ```
    """

    def __init__(self) -> None:
        self._failed = ""
        self._slow = False
        self._admitted = 0

    def __repr__(self) -> str:
        """Tell what is wrong."""
        return f"<Availability {self._failed or 'well'}, {self._admitted} admitted>"

    @contextmanager
    def admitted(self, *, writable: bool) -> Iterator[None]:
        """Be around all that one task does, its waiting for others included.

        Args:
            writable: Whether PyMongo knows a server that takes writes.

        Raises:
            RetryableError: MongoDB is still away, or another task finds out whether it is.
        """
        self._refuse(writable=writable, others=self._admitted)
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    @contextmanager
    def asking(self, *, writable: bool) -> Iterator[None]:
        """Be around one operation of tasks that were admitted, and remember whether it worked.

        Raises:
            RetryableError: Another operation has failed since they were; or as the operation.
        """
        self._refuse(writable=writable, others=self._admitted - 1)
        began = time.monotonic()
        try:
            yield
        except RetryableError as error:
            self.failed(str(error), slow=time.monotonic() - began > SLOW_S)
            raise
        self._failed, self._slow = "", False

    def failed(self, words: str, *, slow: bool) -> None:
        """Take note of a failure.

        Args:
            words: What is wrong.
            slow: Whether it has held a slot for long.
        """
        self._failed = words.removeprefix("MongoDB: ").removeprefix("still away: ")
        self._slow = slow

    def _refuse(self, *, writable: bool, others: int) -> None:
        if self._failed and (not writable or (self._slow and others > 0)):
            raise RetryableError(f"MongoDB: still away: {self._failed}")
