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

from penstock.worker.asyncio_pool.amqp_frames import acks

_logger = logging.getLogger(__name__)


class Outbox:
    """Calls for the consumer's thread, in order. Any thread posts; that one calls."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], Any]] = deque()
        self._acks: deque[Any] = deque()
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
        self._wake()

    def acknowledge(self, message: Any) -> None:
        """Acknowledge a message of kombu's soon, from any thread: many by one write."""
        self._acks.append(message)
        self._wake()

    def reject(self, message: Any, logger: Any, errors: Any, requeue: bool) -> None:  # noqa: FBT001  # Celery's
        """Give a message back, or let it become a dead letter, soon; from any thread."""

        def now() -> None:
            message.counted()
            message.reject_log_error(logger, errors, requeue)

        self.post(now)

    def _wake(self) -> None:
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
        if self._acks:
            self._write_acks()

    def _write_acks(self) -> None:
        """Acknowledge what waits; what belongs to a connection that is gone comes again."""
        tags: dict[Any, list[int]] = {}
        messages = self._acks
        for _ in range(len(messages)):
            message = messages.popleft()
            message.counted()
            channel = message.channel
            if channel.connection is not None and not message.acknowledged:
                message._state = "ACK"  # noqa: SLF001  # as `Message.ack` does
                tags.setdefault(channel, []).append(message.delivery_tag)
        for channel, delivery_tags in tags.items():
            connection = channel.connection
            try:
                # One write: `channel.basic_ack` makes one for each, a tenth of a task's cost.
                connection.transport.write(acks(channel.channel_id, delivery_tags))
                connection.bytes_sent += len(delivery_tags)
            except (OSError, AttributeError) as error:  # lost: its reader finds out
                _logger.warning("%d messages not acknowledged: %r", len(delivery_tags), error)
