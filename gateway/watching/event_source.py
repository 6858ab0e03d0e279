"""The Server-Sent Events side of streams: one client, one task."""

import asyncio

from aiohttp import web

from gateway.access.known_ids import unknown_task_id
from gateway.errors import REFUSALS, Problem, invalid_request
from gateway.redis.client import COMMAND_TIMEOUT_S
from gateway.redis.faults import RedisAwayError
from gateway.watching.events import Event, error_event
from gateway.watching.feed import Feed
from gateway.watching.sockets import KEY_GONE
from gateway.watching.stream_parts import StreamParts
from gateway.watching.viewers import Viewer

_ENDED = "ended"
"""Stands for the cursor of a final state that has none; see `Event.server_sent`."""
_ONLINE_WITHIN_S = 1.0


class EventSource:
    """One client of GET /v1/tasks/{id}/stream.

    Args:
        viewer: Who it is.
        task_id: The task.
        parts: What it works with.
    """

    def __init__(self, viewer: Viewer, task_id: str, parts: StreamParts) -> None:
        self._counts = parts.counts
        self._watch = parts.watch
        self._viewer = viewer
        self._task_id = task_id
        self._limits = parts.limits
        self._feed: Feed = parts.watch.feed(self)
        self._first: Event | None = None
        self._chunks: list[bytes] = []
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._over = False
        self.backlog = 0
        """Octets not written yet."""

    async def begin(self, last: str) -> bool:
        """Find out what is to be sent first; False when there is nothing and never will be.

        Args:
            last: Cursor of the last event that the client saw, or "".

        Raises:
            Problem: `unknown-task-id`, `result-expired`, `forbidden`, `invalid-request`,
                `state-unavailable`.
        """
        seen_end = last == _ENDED
        wants = [(self._task_id, None if seen_end else last or None)]
        watched, said = await self._viewer.sort(wants)
        for event in said:
            if event.kind == "state":
                return False  # not tracked: nothing will ever happen
            raise _problem(event)
        if not await self._watch.notices.until_online(_ONLINE_WITHIN_S):
            raise RedisAwayError("not connected")
        self._feed.subscribe(watched)
        await self._first_told()
        first = self._first
        if first is None:
            return self._task_id in self._feed
        if first.kind == "error":
            raise _problem(first)
        return not (seen_end and first.final)

    async def pump(self, response: web.StreamResponse) -> None:
        """Write what is queued until the end of the task, or of the client.

        Args:
            response: Prepared.
        """
        while True:
            if self._chunks:
                data = b"".join(self._chunks)
                self._chunks.clear()
                await response.write(data)
                self.backlog -= len(data)
                self._drained.set()
            elif self._over:
                return
            else:
                self._wake.clear()
                try:
                    async with asyncio.timeout(self._limits.comment_every_s):
                        await self._wake.wait()
                except TimeoutError:
                    await response.write(b":\n\n")

    def send(self, event: Event) -> None:
        """Queue one event; a client that leaves too much unread is given up."""
        if self._over:
            return
        if self._first is None:
            self._first = event
        self._queue(event)
        if event.final or event.kind == "error":
            self.end()
        elif self.backlog > self._limits.backlog_bytes:
            self._counts.closed["slow-consumer"] += 1
            self._queue(error_event("slow-consumer", "too much is left unread", self._task_id))
            self.end()

    async def drain(self) -> None:
        """Wait until the client has read what is queued."""
        while self.backlog and not self._over:
            self._drained.clear()
            await self._drained.wait()

    @property
    def welcome(self) -> bool:
        """Whether its key is still there, with the rights that it had."""
        return self._viewer.welcome

    def refuse(self) -> None:
        """End it because its key is gone; a client that comes back is refused for good."""
        if not self._over:
            self._counts.closed["unauthenticated"] += 1
            self._queue(error_event("unauthenticated", KEY_GONE, self._task_id))
            self.end()

    def end(self) -> None:
        """Queue nothing more; what is queued is still written."""
        self._over = True
        self._wake.set()
        self._feed.close()

    def close(self) -> None:
        """Stop watching."""
        self._over = True
        self._feed.close()

    def _queue(self, event: Event) -> None:
        chunk = event.server_sent(admin=self._viewer.admin)
        self._chunks.append(chunk)
        self.backlog += len(chunk)
        self._wake.set()

    async def _first_told(self) -> None:
        """Wait for the first event, or until it is clear that there is none yet.

        Raises:
            RedisAwayError: Redis does not answer in time.
        """
        waits = {
            asyncio.create_task(self._wake.wait(), name="first-event"),
            asyncio.create_task(self._feed.settle(), name="first-read"),
        }
        try:
            done, _ = await asyncio.wait(
                waits, timeout=COMMAND_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in waits:
                task.cancel()
        if not done:
            raise RedisAwayError("no first state")


def _problem(event: Event) -> Problem:
    members = event.members or {}
    code = members.get("code", "internal-error")
    if code == "unknown-task-id":
        return unknown_task_id()
    if code == "invalid-request":
        return invalid_request("Last-Event-ID", "Is not a cursor: the id of an event")
    return Problem(code if code in REFUSALS else "internal-error", members.get("detail", code))
