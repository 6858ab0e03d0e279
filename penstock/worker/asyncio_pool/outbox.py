"""What the consumer's thread is to do for the other threads: answers to the broker, ends.

py-amqp is for one thread. What others want of it waits here; the consumer's thread is woken once
for all that has come together.
"""

import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_logger = logging.getLogger(__name__)


class Outbox:
    """Calls for the consumer's thread, in order. Any thread posts; that one calls."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], Any]] = deque()
        self._woken = False
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)

    def __repr__(self) -> str:
        """Tell how many calls wait."""
        return f"<Outbox {len(self._calls)}>"

    def post(self, call: Callable[[], Any]) -> None:
        """Have something called soon, from any thread."""
        self._calls.append(call)
        if not self._woken:
            self._woken = True
            with suppress(BlockingIOError):  # full: it is awake
                os.write(self._write_end, b"x")

    def attach(self, hub: Any) -> None:
        """Be read by Celery's event loop, which forgets its readers when a connection is lost."""
        hub.add_reader(self._read_end, self.deliver)
        self.deliver()

    def deliver(self, *_fds: Any) -> None:
        """Call what waits."""
        with suppress(BlockingIOError):
            os.read(self._read_end, 4096)
        self._woken = False  # what is posted from here on wakes again
        calls = self._calls
        for _ in range(len(calls)):
            try:
                calls.popleft()()
            except Exception:
                _logger.exception("not done for another thread")

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read_end)
        os.close(self._write_end)
