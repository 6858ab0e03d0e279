"""How many messages the broker may send ahead: as many as are of use, and not more octets than fit.

A pool of 1,000 coroutines needs 1,000 messages of a kilobyte, and must not be sent 1,000 of some
megabytes; and what functions wait for is better left to other workers. The prefetch of a consumer
of a quorum queue is fixed when it begins to consume. So each queue is consumed by several: one with
a small prefetch, and more when it is used up, each doubling what may be on its way; they are
cancelled when too much is here. What a cancelled consumer was sent is still executed.

    consumer of Celery: 16 ──full──► + 16 ──full──► + 32 ──full──► + 64 … up to what `-c` allows
                          ▲                                             │ too many octets, or
                          └─────────────── the others cancelled ◄───────┘ functions wait
"""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from amqp.spec import Basic

FIRST = 16
"""Prefetch of the consumer that is never cancelled."""
BUDGET = 64 * 1024 * 1024
"""Octets of bodies that are here, over which no consumer is added; over twice as much, those that
were added are cancelled. Decoded, a body takes three to four times its octets."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Window:
    """What is on its way from one queue."""

    queue: str
    size: int
    count: int = 0
    octets: int = 0
    more: list[str] = field(default_factory=list)
    """Tags of the consumers that were added."""
    changing: bool = False


class PrefetchWindows:
    """Adds and cancels the consumers of one channel, on the consumer's thread.

    Args:
        consumer: Celery's.
        post: has something called when the connection is not being read.
        crowded: whether what is here waits for threads.
    """

    def __init__(
        self,
        consumer: Any,
        post: Callable[[Callable[[], Any]], None],
        crowded: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._tasks = consumer.task_consumer
        self._channel = self._tasks.channel
        self._post = post
        self._crowded = crowded
        self._windows: dict[str, _Window] = {}
        self._tags: dict[str, str] = {}
        self._octets = 0
        self._numbers = itertools.count(1)
        self._prefetch(self._first())
        consumer.qos.callback = partial(self._set_prefetch, consumer.qos.callback)

    def __repr__(self) -> str:
        """Show how wide each is."""
        return f"<PrefetchWindows {self.sizes()}>"

    def sizes(self) -> dict[str, int]:
        """Return how many messages of each queue may be here."""
        return {one.queue: one.size for one in self._windows.values()}

    def _most(self) -> int:
        return int(self._consumer.max_prefetch_count) or 65_535

    def _first(self) -> int:
        return min(FIRST, self._most())

    def queue_of(self, consumer_tag: str) -> str | None:
        """Return the queue that a consumer consumes; None: it is none of this channel's."""
        queue = self._tags.get(consumer_tag)
        if queue is None:
            active = self._tasks._active_tags  # noqa: SLF001  # the only place that knows
            self._tags.update({tag: name for name, tag in active.items()})
            queue = self._tags.get(consumer_tag)
        return queue

    def arrived(self, consumer_tag: str, octets: int) -> Callable[[], None]:
        """Count a message that was delivered; return what is called when it is answered."""
        queue = self.queue_of(consumer_tag)
        if queue is None:
            return _not_counted
        window = self._windows.get(queue)
        if window is None:
            window = self._windows[queue] = _Window(queue, self._first())
        window.count += 1
        window.octets += octets
        self._octets += octets
        if not window.changing:
            if window.more and (self._octets > 2 * BUDGET or self._crowded() or self._left(queue)):
                self._change(window, self._narrow)
            elif window.count >= window.size and self._may_widen(window):
                self._change(window, self._widen)
        return _Counted(self, window, octets)

    def answered(self, window: _Window, octets: int) -> None:
        """Count a message no more."""
        window.count -= 1
        window.octets -= octets
        self._octets -= octets

    def _left(self, queue: str) -> bool:
        """Return whether Celery has cancelled its own consumer (`control cancel_consumer`)."""
        return queue not in self._tasks._active_tags  # noqa: SLF001  # as above

    def _may_widen(self, window: _Window) -> bool:
        more = min(window.size, self._most() - window.size)
        expected = self._octets + window.octets / window.count * more
        return (
            more > 0 and expected <= BUDGET and not self._crowded() and not self._left(window.queue)
        )

    def _change(self, window: _Window, change: Callable[[_Window], None]) -> None:
        window.changing = True

        def now() -> None:
            try:
                change(window)
            finally:
                window.changing = False
            # What was delivered while the broker answered has changed nothing.
            full = self._channel.connection is not None and window.count >= window.size
            if full and self._may_widen(window):
                self._change(window, self._widen)

        self._post(now)

    def _widen(self, window: _Window) -> None:
        active = self._tasks._active_tags.get(window.queue)  # noqa: SLF001  # as above
        more = min(window.size, self._most() - window.size)
        if self._channel.connection is None or active is None or more <= 0:
            return
        # Never the tag of one that was cancelled: RabbitMQ 3.10.8 sends that what it has not
        # acknowledged without its body, and ends the connection with 541 (rabbitmq-server #5927).
        tag = f"{active}.{next(self._numbers)}"
        self._tags[tag] = window.queue
        self._prefetch(more)
        self._channel.basic_consume(
            window.queue,
            tag,
            callback=self._channel.callbacks[active],
            nowait=True,
            on_cancel=partial(self._cancelled, window, more),
        )
        self._prefetch(self._first())
        window.more.append(tag)
        window.size += more

    @staticmethod
    def _cancelled(window: _Window, size: int, tag: str) -> None:
        """Take note that RabbitMQ has cancelled a consumer: the node of its queue is away."""
        window.more.remove(tag)
        window.size -= size

    def _prefetch(self, count: int) -> None:
        """Set what the next consumers of the channel are sent ahead.

        `basic_qos` would wait for the answer, and py-amqp read one by one all that comes before it.
        What is sent on a channel is done in order.
        """
        self._channel.send_method(Basic.Qos, "lBb", (0, count, False))

    def _set_prefetch(self, set_it: Callable[..., Any], prefetch_count: int) -> None:
        """Set what Celery sets, and again what the next consumers are sent ahead.

        Celery does so when its loop begins, and when tasks with an ETA are held: a queue that is
        consumed later (`control add_consumer`, a pause that is over) would begin with all of it.
        """
        set_it(prefetch_count=prefetch_count)
        self._prefetch(self._first())

    def _narrow(self, window: _Window) -> None:
        if self._channel.connection is None:
            return
        tags, window.more = window.more, []
        for tag in tags:
            self._channel.basic_cancel(tag, nowait=True)
        window.size = self._first()
        _logger.info("fewer messages ahead: queue=%s octets=%d", window.queue, self._octets)

    def cancel(self) -> None:
        """Cancel the consumers that were added."""
        for window in self._windows.values():
            self._narrow(window)


class _Counted:
    """Counts one message until it is called; a partial function would take three times as much."""

    __slots__ = ("_octets", "_window", "_windows")

    def __init__(self, windows: PrefetchWindows, window: _Window, octets: int) -> None:
        self._windows = windows
        self._window = window
        self._octets = octets

    def __call__(self) -> None:
        self._windows.answered(self._window, self._octets)


def _not_counted() -> None:
    """Count nothing: another channel delivered the message."""
