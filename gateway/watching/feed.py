"""What one client watches: each subscription gets its first state, then what changes, to its end.

queued ──SUBSCRIBE confirmed──► reading ──snapshot sent──► live ──final state sent──► gone
  ▲   (notices need no keeping:    │ (notices are held)      │
  │    what they say is read)      │                         │
  └──── more to read, or too much held ──── connection lost ─┘  (sent with a gap)
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.access.task_id import IssuedId
from gateway.redis.faults import RedisAwayError
from gateway.states.reading import States
from gateway.states.snapshots import PAGE, SnapshotRequest, Snapshots, TaskSnapshot
from gateway.watching.events import (
    Event,
    decode_event,
    error_event,
    gap_event,
    position,
    state_event,
)
from gateway.watching.notices import Notices, Topic
from gateway.watching.stream_counts import StreamCounts
from penstock.backoff import backoff_s
from penstock.looper import Faults

_AT_ONCE: Final = 64
"""First states of one client read together."""
_MAX_HELD: Final = 64
"""Notices kept while a snapshot is read; with more, the task is read again."""
_PACE_BYTES: Final = 64 * 1024
"""First states wait while the client has more than this to read."""
_AFTER_FAULT_S: Final = 1.0
_SPARE_BYTES: Final = 512 * 1024
"""A client that still gets first states and has this much to read is spared changes between."""


class Sink(Protocol):
    """The client."""

    def send(self, event: Event) -> None:
        """Queue one event for the client. Must neither block nor raise."""

    @property
    def backlog(self) -> int:
        """Octets that the client has not read yet."""

    async def drain(self) -> None:
        """Wait until the client has read most of what is queued; ConnectionError: it has left."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where feeds get what they send."""

    notices: Notices
    snapshots: Snapshots
    states: States
    counts: StreamCounts
    faults: Faults = field(default_factory=lambda: Faults("feeds"))
    """What went wrong with single tasks."""


class Subscription:
    """One task for one client.

    Args:
        feed: The client's.
        task_id: The task.
        issued: What its id says of itself.
        resume: Cursor to begin after; empty: begin with the state.
    """

    __slots__ = (
        "confirmed",
        "feed",
        "gap",
        "held",
        "issued",
        "live",
        "overflow",
        "resume",
        "seen",
        "task_id",
        "topic",
    )

    def __init__(self, feed: "Feed", task_id: str, issued: IssuedId | None, resume: str) -> None:
        self.feed = feed
        self.task_id = task_id
        self.issued = issued
        self.resume = resume
        self.topic: Topic | None = None
        self.confirmed = 0
        """The topic's, when the snapshot was asked for."""
        self.live = False
        self.overflow = False
        """More came meanwhile than is held."""
        self.gap = False
        """To be sent before the next state."""
        self.held: list[Event] | None = None
        """Notices that came while the snapshot was being read."""
        self.seen: int | None = None
        """Position of the last event sent."""

    def hear(self, event: Event) -> None:
        """Pass a notice on, or hold it while the snapshot is read."""
        if self.live:
            self.feed.pass_on(self, event)
        elif self.held is not None:
            if len(self.held) < _MAX_HELD:
                self.held.append(event)
            else:
                self.overflow = True

    def interrupted(self) -> None:
        """Send the state as it is, after a gap: the connection was lost.

        Before the subscription is live this is nothing to it: what it reads, it reads only once
        it is subscribed on the connection that is there then.
        """
        if self.live:
            self.gap = True
            self.feed.again(self)

    def gone(self) -> bool:
        """Return whether it was ended or given up meanwhile."""
        return self.topic is None


class Feed:
    """All subscriptions of one client.

    Args:
        sources: The process's.
        sink: The client.
    """

    __slots__ = ("_primer", "_queued", "_sink", "_sources", "_subscriptions")

    def __init__(self, sources: Sources, sink: Sink) -> None:
        self._sources = sources
        self._sink = sink
        self._subscriptions: dict[str, Subscription] = {}
        self._queued: dict[str, Subscription] = {}
        self._primer: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many tasks are watched."""
        return len(self._subscriptions)

    def __contains__(self, task_id: str) -> bool:
        """Return whether the task is watched."""
        return task_id in self._subscriptions

    def subscribe(self, wants: Mapping[str, tuple[IssuedId | None, str]]) -> None:
        """Begin to watch tasks; one that is watched already begins again.

        Args:
            wants: For each id what it says of itself, and a cursor or "".
        """
        for task_id, (issued, resume) in wants.items():
            self._drop(task_id)
            self._sources.counts.subscriptions["resumed" if resume else "new"] += 1
            subscription = Subscription(self, task_id, issued, resume)
            self._subscriptions[task_id] = subscription
            subscription.topic = self._sources.notices.join(task_id, subscription)
            self._queued[task_id] = subscription
        self._prime()

    async def settle(self) -> None:
        """Wait until everything subscribed so far has its first state."""
        while self._primer is not None:
            await asyncio.wait({self._primer})
            await asyncio.sleep(0)

    def unsubscribe(self, ids: Iterable[str]) -> None:
        """Stop watching tasks; unknown ids are ignored."""
        for task_id in ids:
            self._drop(task_id)

    def close(self) -> None:
        """Stop watching anything, for good.

        The client and its feed know each other: left so, they would wait for a pass of the
        collector, which comes seldom, with all that the client's connection holds.
        """
        for task_id in tuple(self._subscriptions):
            self._drop(task_id)
        if self._primer is not None:
            self._primer.cancel()
        self._sink = _GONE

    def again(self, subscription: Subscription) -> None:
        """Read the task again and send its state."""
        subscription.live = False
        subscription.held = None
        self._queued[subscription.task_id] = subscription
        self._prime()

    def pass_on(self, subscription: Subscription, event: Event) -> None:
        """Send a change, unless it was sent before; the final state is the last one sent."""
        place = event.position
        if place is not None:
            if subscription.seen is not None and place <= subscription.seen:
                return
            subscription.seen = place
        if self._primer is not None and self._sink.backlog > _SPARE_BYTES and not event.final:
            subscription.gap = True
            self.again(subscription)
            return
        self._send(subscription, event)

    def _send(self, subscription: Subscription, event: Event) -> None:
        if event.final or event.kind == "error":
            self._drop(subscription.task_id)
        self._sources.counts.messages[event.kind] += 1
        self._sink.send(event)

    def _drop(self, task_id: str) -> None:
        subscription = self._subscriptions.pop(task_id, None)
        if subscription is not None and subscription.topic is not None:
            self._queued.pop(task_id, None)
            self._sources.notices.leave(subscription.topic, subscription)
            subscription.topic = None

    def _prime(self) -> None:
        if self._primer is None and self._queued:
            self._primer = asyncio.create_task(self._begin_queued(), name="feed")
            self._primer.add_done_callback(self._primed)

    def _primed(self, task: asyncio.Task[None]) -> None:
        self._primer = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._prime()  # what was queued since its last look
            return
        self._sources.faults.failed(error)
        asyncio.get_running_loop().call_later(_AFTER_FAULT_S, self._prime)

    async def _begin_queued(self) -> None:
        """Send first states, as fast as the client reads; end when none is left."""
        failures = 0
        while self._queued:
            chunk = list(self._queued.values())[:_AT_ONCE]
            await self._sources.notices.ready([s.topic for s in chunk if s.topic is not None])
            chunk = [s for s in chunk if self._queued.get(s.task_id) is s]
            if not chunk:
                continue
            for subscription in chunk:
                del self._queued[subscription.task_id]
                subscription.held = []
                subscription.overflow = False
                subscription.confirmed = subscription.topic.confirmed if subscription.topic else 0
            try:
                wants = [SnapshotRequest(s.task_id, "" if s.gap else s.resume) for s in chunk]
                snapshots = await self._sources.snapshots.read(wants)
                failures = 0
            except RedisAwayError:
                for subscription in chunk:
                    if not subscription.gone():
                        self.again(subscription)
                await asyncio.sleep(backoff_s(failures))
                failures += 1
                continue
            for subscription, want, snapshot in zip(chunk, wants, snapshots, strict=True):
                try:
                    await self._begin(subscription, want.cursor, snapshot)
                except Exception as error:  # noqa: BLE001  # one task must not cost the others
                    self._give_up(subscription, error)
                if self._sink.backlog > _PACE_BYTES:
                    try:
                        await self._sink.drain()
                    except ConnectionError:  # no fault: its handler hears of it a moment later
                        self.close()
                        return
        self._queued = {}  # an emptied dict keeps the room it had

    def _give_up(self, subscription: Subscription, error: Exception) -> None:
        """Send an error for a task that cannot be read, instead of leaving the client to wait."""
        self._sources.faults.failed(error)
        if not subscription.gone():
            detail = "the stored state cannot be read"
            self._send(subscription, error_event("internal-error", detail, subscription.task_id))

    async def _begin(self, subscription: Subscription, cursor: str, snapshot: TaskSnapshot) -> None:
        if subscription.gone():
            return
        if cursor and not subscription.gap and self._catch_up(subscription, cursor, snapshot):
            return
        try:
            event = await self._state(subscription, snapshot)
        except RedisAwayError:
            if not subscription.gone():
                self.again(subscription)
            return
        if subscription.gone():
            return
        if event.kind == "state" and (subscription.gap or (cursor and not _stock(snapshot))):
            self._send(subscription, gap_event(subscription.task_id))
        subscription.gap = False
        subscription.seen = event.position
        self._send(subscription, event)
        self._go_live(subscription, event.raw)

    def _catch_up(self, subscription: Subscription, cursor: str, snapshot: TaskSnapshot) -> bool:
        """Tell exactly what came after the cursor; False when that cannot be known."""
        if not snapshot.complete:
            # Nothing had happened when the client left, and still nothing has.
            if cursor != "0-0" or snapshot.record != 0:
                return False
            state = self._sources.states.interpret(subscription.task_id, 0, subscription.issued)
            if state.code is not None:
                return False
        subscription.seen = position(cursor)
        for place, entry in snapshot.news:
            event = decode_event(subscription.task_id, entry, subscription.issued, place)
            if event is None:
                continue
            subscription.seen = event.position
            self._send(subscription, event)
            if subscription.gone():
                return True
        if len(snapshot.news) == PAGE:
            subscription.resume = snapshot.news[-1][0]
            self.again(subscription)
            return True
        if not snapshot.news and isinstance(snapshot.record, bytes):
            event = decode_event(subscription.task_id, snapshot.record, subscription.issued)
            if event is not None and event.final:
                if event.cursor == cursor:
                    self._drop(subscription.task_id)  # its end is what the cursor stands for
                else:
                    self._send(subscription, event)
                return True
        self._go_live(subscription, None)
        return True

    async def _state(self, subscription: Subscription, snapshot: TaskSnapshot) -> Event:
        record = snapshot.record
        if record == _LONG:
            known = {subscription.task_id: subscription.issued}
            found = await self._sources.states.read(known)
            return state_event(found[subscription.task_id], _HUGE)
        if isinstance(record, bytes):
            event = decode_event(subscription.task_id, record, subscription.issued)
            if event is not None:
                return event
        state = self._sources.states.interpret(subscription.task_id, record, subscription.issued)
        return state_event(state)

    def _go_live(self, subscription: Subscription, sent: bytes | None) -> None:
        """Send what was held; from now on, changes are sent as they come."""
        held, subscription.held = subscription.held or [], None
        topic = subscription.topic
        if topic is None:
            return
        if subscription.overflow or topic.confirmed != subscription.confirmed:
            # Something may have come between the snapshot and now, and was not kept.
            subscription.gap = True
            self.again(subscription)
            return
        subscription.live = True
        for event in held:
            if event.raw is None or event.raw != sent:
                self.pass_on(subscription, event)
            if not subscription.live or subscription.gone():
                return


class _Gone:
    """In place of a client that is gone."""

    backlog = 0

    def send(self, event: Event) -> None:
        """Drop it."""

    async def drain(self) -> None:
        """Nothing is ever queued."""


_GONE: Final = _Gone()
_LONG: Final = 2
"""The snapshot script's number for a record that is long and has no short form."""
_HUGE: Final = 1 << 30


def _stock(snapshot: TaskSnapshot) -> bool:
    """Whether the record has no cursor: resuming it means its state, and nothing is missed."""
    return isinstance(snapshot.record, bytes) and not snapshot.record.startswith(b'{"cursor"')
