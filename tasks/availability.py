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
        self._under_way = 0

    def __repr__(self) -> str:
        """Tell what is wrong."""
        return f"<Availability {self._failed or 'well'}, {self._under_way} under way>"

    def check(self, *, writable: bool) -> None:
        """Return if MongoDB may be asked.

        Args:
            writable: Whether PyMongo knows a server that takes writes.

        Raises:
            RetryableError: It is still away, or another operation finds out whether it is.
        """
        if self._failed and (not writable or (self._slow and self._under_way)):
            raise RetryableError(f"MongoDB: still away: {self._failed}")

    @contextmanager
    def asking(self, *, writable: bool) -> Iterator[None]:
        """Be around one operation, and remember whether it worked.

        Raises:
            RetryableError: As `check`; or as the operation.
        """
        self.check(writable=writable)
        began = time.monotonic()
        self._under_way += 1
        try:
            yield
        except RetryableError as error:
            self.failed(str(error), slow=time.monotonic() - began > SLOW_S)
            raise
        else:
            self._failed, self._slow = "", False
        finally:
            self._under_way -= 1

    def failed(self, words: str, *, slow: bool) -> None:
        """Take note of a failure.

        Args:
            words: What is wrong.
            slow: Whether it has held a slot for long.
        """
        self._failed = words.removeprefix("MongoDB: ").removeprefix("still away: ")
        self._slow = slow
