"""One pub/sub connection → everyone who watches, whatever their number.

    offline ──connected──► subscribing every topic ──confirmed──► online
       ▲                                                            │
       └──────────────── connection lost (back-off) ────────────────┘

A notice is published by the same script that stores the change. Who reads the state after Redis
confirmed SUBSCRIBE therefore misses nothing; what is published while no connection is there is
found by reading again.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Protocol

from gateway.access.task_id import IssuedId
from gateway.cancellation import stop
from gateway.redis import resp
from gateway.redis.faults import RedisAwayError
from gateway.redis.notice_connection import NoticeConnection
from gateway.redis.resp import ProtocolError, Replies, Reply
from gateway.watching.events import Event, decode_event, unix_time
from gateway.watching.stream_counts import StreamCounts
from penstock.backoff import FIRST_WAIT_S
from penstock.looper import Faults, Looper

PING_INTERVAL_S: Final = 3.0
"""A connection that is silent for twice as long is given up."""
OPEN_TIMEOUT_S: Final = 10.0
"""Of one attempt."""
_CHANNELS_AT_ONCE: Final = 500


class Listener(Protocol):
    """One that gets the changes of one task."""

    @property
    def issued(self) -> IssuedId | None:
        """What the id says of itself."""

    def hear(self, event: Event) -> None:
        """Something changed. Must neither block nor raise."""

    def interrupted(self) -> None:
        """Something may have been missed: read again. Must neither block nor raise."""


class Topic:
    """One task that is watched.

    Args:
        task_id: The task.
        prefix: How keys of records begin.
        batch: What its SUBSCRIBE is part of.
    """

    __slots__ = ("batch", "confirmed", "listeners", "prefix", "stale", "task_id")

    def __init__(self, task_id: str, prefix: str, batch: "Batch") -> None:
        self.task_id = task_id
        self.prefix = prefix
        self.batch: Batch | None = batch
        """None once confirmed: ten thousand of them would weigh more than the topics."""
        self.confirmed = 0
        """On which connection Redis confirmed it, counted from 1; 0: not yet on the present one."""
        self.stale = False
        """The connection was lost since its listeners got anything."""
        self.listeners: list[Listener] = []

    @property
    def channel(self) -> bytes:
        """Name of the channel: the key of the record."""
        return f"{self.prefix}{self.task_id}".encode()


class Batch:
    """Topics that are subscribed by one command."""

    __slots__ = ("done", "outstanding", "topics")

    def __init__(self) -> None:
        self.topics: list[Topic] = []
        self.outstanding = 0
        self.done = asyncio.Event()
        """Set when Redis confirmed all, and when they moved to another batch."""


class Notices:
    """The process's one connection for changes of task states.

    Args:
        url: Redis.
        counts: For /metrics.
        prefix: How keys of records begin.
    """

    def __init__(self, url: str, counts: StreamCounts, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._counts = counts
        self._topics: dict[bytes, Topic] = {}
        self._open = Batch()
        self._unconfirmed: deque[Batch] = deque()
        self._leaving: list[Topic] = []
        self._connection: NoticeConnection | None = None
        self._flush_scheduled = False
        self._heard_at = 0.0
        self._online = asyncio.Event()
        self.connections = 0
        """How often a connection was made."""
        self.listeners = 0
        """Of all topics together."""
        self._unreadable = Faults("notices-unreadable")
        self.looper = Looper(
            "notices",
            self._connect_and_listen,
            interval_s=FIRST_WAIT_S,
            deadline_s=OPEN_TIMEOUT_S,
            expected=(RedisAwayError, ProtocolError),
        )
        """Keeps the connection; a fault of ours costs streams a gap, not their life."""

    def __repr__(self) -> str:
        """How many tasks are watched, and whether Redis is there."""
        return f"<Notices {len(self._topics)} tasks, {'online' if self.online else 'offline'}>"

    @property
    def online(self) -> bool:
        """Whether notices come at the moment."""
        return self._connection is not None

    async def until_online(self, timeout_s: float) -> bool:
        """Wait for the connection, at most that many seconds; whether it is there."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._online.wait()
        return self.online

    def __len__(self) -> int:
        """How many tasks are watched."""
        return len(self._topics)

    def join(self, task_id: str, listener: Listener) -> Topic:
        """Pass changes of a task to the listener from now on; `ready` says when that is sure."""
        channel = f"{self._prefix}{task_id}".encode()
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = Topic(task_id, self._prefix, self._open)
            self._open.topics.append(topic)
            self._schedule_flush()
        topic.listeners.append(listener)
        self.listeners += 1
        return topic

    def leave(self, topic: Topic, listener: Listener) -> None:
        """Pass nothing more to the listener."""
        topic.listeners.remove(listener)
        self.listeners -= 1
        if not topic.listeners:
            self._leaving.append(topic)
            self._schedule_flush()

    async def ready(self, topics: Iterable[Topic]) -> None:
        """Wait, even for ever, until Redis confirmed the subscriptions of these tasks."""
        for topic in topics:
            while topic.listeners and not topic.confirmed and topic.batch is not None:
                await topic.batch.done.wait()

    async def _connect_and_listen(self) -> None:
        """Keep one connection for as long as it lives.

        Raises:
            RedisAwayError, ProtocolError: It was not made, or was lost.
        """
        connection = NoticeConnection(self._url)
        helpers: list[asyncio.Task[None]] = []
        try:
            await connection.open()
            # No TaskGroup: in Python 3.11 it can leave its task marked as cancelled.
            helpers = [
                asyncio.create_task(self._keep_alive(connection), name="notices-ping"),
                asyncio.create_task(self._resubscribe(connection), name="notices-resubscribe"),
            ]
            for helper in helpers:
                helper.add_done_callback(partial(_cut_when_failed, connection))
            self.looper.well()
            await self._listen(connection)
        finally:
            await stop(*helpers)
            self._lose()
            await connection.close()

    async def _listen(self, connection: NoticeConnection) -> None:
        replies = Replies()
        loop = asyncio.get_running_loop()
        while True:
            chunk = await connection.read()
            self._heard_at = loop.time()
            for reply in replies.feed(chunk):
                self._take(reply)

    def _take(self, reply: Reply) -> None:
        match reply:
            case [b"message", bytes(channel), bytes(payload)]:
                try:
                    outcome = self._pass_on(channel, payload)
                except Exception as error:  # noqa: BLE001  # one notice must not cost all others
                    self._unreadable.failed(error)
                    outcome = "unreadable"
                self._counts.notices[outcome] += 1
            case [b"subscribe", bytes(channel), int()] if self._unconfirmed:
                batch = self._unconfirmed[0]
                topic = self._topics.get(channel)
                if topic is not None and topic.batch is batch:
                    topic.confirmed = self.connections
                    topic.batch = None
                batch.outstanding -= 1
                if not batch.outstanding:
                    self._unconfirmed.popleft()
                    batch.done.set()

    def _pass_on(self, channel: bytes, payload: bytes) -> str:
        """Have all who watch the task hear of a change; what became of it."""
        topic = self._topics.get(channel)
        if topic is None or not topic.listeners:
            return "unwatched"
        event = decode_event(topic.task_id, payload, topic.listeners[0].issued)
        if event is None:
            return "unreadable"
        for listener in tuple(topic.listeners):
            listener.hear(event)
        if event.position is not None:
            self._counts.delay.observe(max(0.0, time.time() - unix_time(event.position)))
        return "watched"

    async def _keep_alive(self, connection: NoticeConnection) -> None:
        """Cut a connection whose other end is gone: nothing else would ever notice."""
        loop = asyncio.get_running_loop()
        while True:
            connection.write(resp.command(b"PING"))
            await asyncio.sleep(PING_INTERVAL_S)
            if loop.time() - self._heard_at > 2 * PING_INTERVAL_S:
                connection.abort()  # `_listen` then raises
                return

    async def _resubscribe(self, connection: NoticeConnection) -> None:
        """Subscribe all that is watched, some hundred at a time, and have it read again."""
        self._heard_at = asyncio.get_running_loop().time()
        self.connections += 1
        self._counts.connections["made"] += 1
        waiting, self._open = self._open, Batch()
        self._connection = connection
        self._online.set()
        for start in range(0, len(waiting.topics), _CHANNELS_AT_ONCE):
            topics = waiting.topics[start : start + _CHANNELS_AT_ONCE]
            self._subscribe(connection, topics)
            for topic in topics:
                if topic.stale:
                    topic.stale = False
                    for listener in tuple(topic.listeners):
                        listener.interrupted()
            await asyncio.sleep(0)
        waiting.done.set()
        self._schedule_flush()

    def _lose(self) -> None:
        """Have every topic wait for a connection again; forget those without listeners."""
        self._leaving.clear()
        self._topics = {c: topic for c, topic in self._topics.items() if topic.listeners}
        if self._connection is None:
            self._open.topics = list(self._topics.values())
            return
        self._connection = None
        self._counts.connections["lost"] += 1
        self._online.clear()
        batches = {topic.batch for topic in self._topics.values() if topic.batch is not None}
        self._open = Batch()
        self._unconfirmed.clear()
        for topic in self._topics.values():
            topic.stale = True
            topic.confirmed = 0
            topic.batch = self._open
            self._open.topics.append(topic)
        for batch in batches:
            batch.done.set()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled and self._connection is not None:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what one turn of the loop subscribed and unsubscribed."""
        self._flush_scheduled = False
        connection = self._connection
        if connection is None:
            return
        leaving, self._leaving = self._leaving, []
        gone = []
        for topic in leaving:
            channel = topic.channel
            if not topic.listeners and self._topics.get(channel) is topic:
                del self._topics[channel]
                if topic.batch is not self._open:
                    gone.append(channel)
        if gone:
            connection.write(resp.command(b"UNSUBSCRIBE", *gone))
        if self._open.topics:
            waiting, self._open = self._open, Batch()
            for start in range(0, len(waiting.topics), _CHANNELS_AT_ONCE):
                self._subscribe(connection, waiting.topics[start : start + _CHANNELS_AT_ONCE])
            waiting.done.set()

    def _subscribe(self, connection: NoticeConnection, topics: Sequence[Topic]) -> None:
        batch = Batch()
        # One without listeners that is still known may get some before `_flush` forgets it.
        wanted = [topic for topic in topics if self._topics.get(topic.channel) is topic]
        if not wanted:
            return
        for topic in wanted:
            topic.batch = batch
        batch.outstanding = len(wanted)
        self._unconfirmed.append(batch)
        connection.write(resp.command(b"SUBSCRIBE", *(topic.channel for topic in wanted)))


def _cut_when_failed(connection: NoticeConnection, helper: "asyncio.Task[None]") -> None:
    """Have `_listen` raise when a task beside it failed: without it nothing would be sent."""
    if not helper.cancelled() and helper.exception() is not None:
        connection.abort()
