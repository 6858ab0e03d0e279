"""Watching tasks: feeds for streams, and waiting for ends."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from gateway.access.task_id import IssuedId, claims
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from gateway.states.reading import States
from gateway.states.snapshots import Snapshots
from gateway.states.state import State
from gateway.watching.events import Event
from gateway.watching.feed import Feed, Sink, Sources
from gateway.watching.notices import Notices
from gateway.watching.stream_counts import StreamCounts

_ONLINE_WITHIN_S = 1.0
"""How long a wait for ends gives the connection, and then Redis itself, to be there."""


class Watch:
    """The process's one view of task states as they change.

    Args:
        url: Redis, for the connection that notices come by.
        redis: RedisClient, for commands.
        states: Reads states.
        counts: For /metrics.
    """

    def __init__(self, url: str, redis: RedisClient, states: States, counts: StreamCounts) -> None:
        self._redis = redis.within(_ONLINE_WITHIN_S)
        self._sources = Sources(
            Notices(url, counts, redis.keys.record), Snapshots(redis), states, counts
        )
        self._waits: set[_Ends] = set()
        self._closed = False

    def __repr__(self) -> str:
        """What it watches."""
        return f"<Watch of {self._sources.notices!r}>"

    @property
    def online(self) -> bool:
        """Whether notices come at the moment."""
        return self._sources.notices.online

    @property
    def notices(self) -> Notices:
        """The one connection."""
        return self._sources.notices

    def feed(self, sink: Sink) -> Feed:
        """The subscriptions of one client, none yet."""
        return Feed(self._sources, sink)

    def close(self) -> None:
        """End every wait: the gateway shuts down, and the state as it is answers the client."""
        self._closed = True
        for sink in self._waits:
            sink.done.set()

    async def until_ended(self, ids: Mapping[str, IssuedId | None], timeout_s: float) -> None:
        """Wait until all of these tasks have ended, or for the time; without Redis, not at all.

        Nor longer than the gateway serves.

        Args:
            ids: Of tracked tasks, with what each says of itself.
            timeout_s: Longest wait, seconds.
        """
        sink = _Ends(set(ids))
        if not sink.left or self._closed:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if not await self._reachable():
                    return
                feed = self.feed(sink)
                feed.subscribe({task_id: (issued, "") for task_id, issued in ids.items()})
                self._waits.add(sink)
                try:
                    await sink.done.wait()
                finally:
                    self._waits.discard(sink)
                    feed.close()

    async def _reachable(self) -> bool:
        """Whether notices come, or are sure to: Redis may be back some time before they are."""
        if await self.notices.until_online(_ONLINE_WITHIN_S):
            return True
        try:
            await self._redis.ping()
        except RedisAwayError:
            return False
        return True

    async def ended(self, ids: Iterable[str], timeout_s: float) -> dict[str, State]:
        """Wait like `until_ended`, and return the states of those that have ended.

        Without Redis nothing is known to have ended: the answer is empty, and prompt.

        Args:
            ids: Of tasks that the gateway issued; those not tracked never end.
            timeout_s: Longest wait for all of them, seconds.
        """
        known: dict[str, IssuedId | None] = {task_id: claims(task_id) for task_id in ids}
        tracked = {t: issued for t, issued in known.items() if issued is None or issued.tracked}
        await self.until_ended(tracked, timeout_s)
        try:
            states = await self._sources.states.read(tracked)
        except RedisAwayError:
            return {}
        return {task_id: state for task_id, state in states.items() if state.final}


class _Ends:
    """A client that only cares for ends."""

    backlog = 0

    def __init__(self, ids: set[str]) -> None:
        self.left = ids
        self.done = asyncio.Event()

    def send(self, event: Event) -> None:
        if event.task_id is not None and (event.final or event.kind == "error"):
            self.left.discard(event.task_id)
            if not self.left:
                self.done.set()

    async def drain(self) -> None:
        """Nothing is ever queued."""
