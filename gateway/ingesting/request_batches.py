"""The documents of one request on their way: batches filled, held back, published, counted."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.access.work import Work
from gateway.errors import Problem
from gateway.ingesting.batch_publisher import (
    MAX_BATCH_BYTES,
    MAX_BATCH_DOCUMENTS,
    BatchPublisher,
    Lane,
    Published,
)
from gateway.rabbitmq.confirms import unconfirmed

MAX_INFLIGHT_BATCHES = 32
"""Batches of one request that wait for their confirms; and at most:"""
MAX_INFLIGHT_BYTES = 8 * 1024 * 1024
MAX_LISTED_IDS = 1000
"""More documents than this are listed on demand only."""
MAX_KEPT_IDS = 100_000
"""So many are kept all the same, about 4 MB of them: whoever is refused the rest is told them."""


@dataclass(slots=True)
class Tally:
    """How the documents of one request ended."""

    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    batches: list[str] = field(default_factory=list)
    """Ids of the confirmed batches."""
    sizes: list[int] = field(default_factory=list)
    """Documents in each of them."""
    ids: list[bytes] = field(default_factory=list)
    """JSON of the accepted documents' `_id`s, joined batch by batch; empty when not listed."""
    problem: Problem | None = None
    """The first refusal, one with an unknown outcome before all others."""

    every_id: bool = False
    """Whether the ids are listed however many they are."""

    @property
    def ids_json(self) -> bytes | None:
        """A JSON array of the accepted documents' `_id`s; None when it is left out."""
        if self.accepted > MAX_LISTED_IDS and not self.every_id:
            return None
        return self.kept_ids_json

    @property
    def kept_ids_json(self) -> bytes | None:
        """The same, also above the usual bound; None when there were too many to keep."""
        if self.accepted and not self.ids:
            return None
        return b"[%b]" % b",".join(self.ids)


class RequestBatches:
    """Fills batches with one request's documents and publishes them, several at a time.

    Batches are published in the order of the documents, and none after one that failed: what was
    accepted is a prefix of the request, but for batches in flight at the moment of the failure.

    Args:
        publisher: Publishes batches.
        lane: Where to.
        work: Pays for each batch.
        every_id: List the ids however many they are.
        copies: (Task id, message id) of each batch, when they were issued before.
    """

    def __init__(
        self,
        publisher: BatchPublisher,
        lane: Lane,
        work: Work,
        *,
        every_id: bool,
        copies: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._publisher = publisher
        self._lane = lane
        self._work = work
        self._every_id = every_id
        self._copies = deque(copies)
        self._documents: list[bytes] = []
        self._ids: list[bytes] = []
        self._size = 0
        self._full: deque[tuple[bytes, bytes, int]] = deque()
        self._held = 0
        self._open = 0
        self._inflight: deque[tuple[Published, bytes]] = deque()
        self._inflight_bytes = 0
        self._total = 0
        self.counts = Tally(every_id=every_id)

    @property
    def published(self) -> bool:
        """Whether anything may be queued, or is."""
        return bool(self._inflight or self.counts.accepted or self.counts.unknown)

    def stopped(self) -> bool:
        """Tell whether a batch failed, so that no other may follow."""
        return self.counts.problem is not None

    def add(self, documents: Sequence[bytes], ids: Sequence[bytes]) -> None:
        """Put documents in the batch that is being filled, and in further ones.

        Raises:
            Problem: `overloaded`: too much is held back already (queued: no).
        """
        start = 0
        while start < len(documents):
            stop = start + MAX_BATCH_DOCUMENTS - len(self._documents)
            part = documents[start:stop]
            size = sum(map(len, part)) + len(part)
            if self._size + size > MAX_BATCH_BYTES:
                part = _fitting(part, MAX_BATCH_BYTES - self._size)
                if not part and not self._documents:
                    part = documents[start : start + 1]
                size = sum(map(len, part)) + len(part)
            self._documents += part
            self._ids += ids[start : start + len(part)]
            self._size += size
            start += len(part)
            if start < len(documents) or len(self._documents) == MAX_BATCH_DOCUMENTS:
                self._close()

    def count_open(self, pending: int) -> None:
        """Count as held what is in memory outside of full batches, too.

        Args:
            pending: Octets of the document that has begun and not ended.

        Raises:
            Problem: `overloaded` (queued: no).
        """
        size = self._size + pending
        self._hold(size - self._open)
        self._open = size

    def close(self) -> int:
        """Fill no further; tell how many batches wait to be published."""
        if self._documents:
            self._close()
        return len(self._full)

    async def publish(self) -> None:
        """Publish the batches that are full."""
        while self._full:
            self._collect()
            while self._inflight and (
                len(self._inflight) >= MAX_INFLIGHT_BATCHES
                or self._inflight_bytes >= MAX_INFLIGHT_BYTES
            ):
                await self._end_oldest()
            if self.stopped():
                return
            documents, ids, count = self._full[0]
            try:
                published = await self._publisher.publish_when_possible(
                    self._lane, documents, count, self._copies.popleft() if self._copies else None
                )
            except Problem as problem:
                self._full.popleft()
                self._count(problem, count)
                return
            self._full.popleft()
            self._hold(-len(documents))
            self._work.charge(1)
            self._inflight.append((published, ids))
            self._inflight_bytes += published.size
        self._collect()

    async def finish(self) -> Tally:
        """Publish what is left and wait until every outcome is known, half a second over a confirm.

        Whatever is not confirmed by then counts as unknown, what is not published as refused.
        """
        self.close()
        try:
            async with asyncio.timeout(self._publisher.confirm_timeout_s + 0.5):
                await self.publish()
                await self.settle()
        except TimeoutError:
            while self._inflight:
                published, ids = self._inflight.popleft()
                published.confirm.cancel()
                self._end(published, ids)
        for _, _, count in self._full:
            self._count(Problem("overloaded", "publishing took too long", queued="no"), count)
        self.discard()
        return self.counts

    async def settle(self) -> Tally:
        """Publish nothing more; wait for the outcomes of what is in flight."""
        while self._inflight:
            await self._end_oldest()
        return self.counts

    def discard(self) -> None:
        """Forget what was not published."""
        self._documents, self._ids, self._size = [], [], 0
        self._full.clear()
        self._hold(-self._held)
        self._open = 0

    def _close(self) -> None:
        documents, ids = b",".join(self._documents), b",".join(self._ids)
        count = len(self._documents)
        self._hold(len(documents))
        self._total += count
        if not self._every_id and self._total > MAX_KEPT_IDS:
            ids = b""
            self.counts.ids.clear()
        self._full.append((documents, ids, count))
        self._documents, self._ids, self._size = [], [], 0

    def _hold(self, size: int) -> None:
        """Count octets as held in memory; negative: no longer.

        Raises:
            Problem: `overloaded` (queued: no).
        """
        self._publisher.held.hold(self._lane.tenant, size)
        self._held += size

    def _collect(self) -> None:
        """Count the batches whose outcome is known, in their order."""
        while self._inflight and self._inflight[0][0].confirm.done():
            self._end(*self._inflight.popleft())

    async def _end_oldest(self) -> None:
        published, ids = self._inflight[0]
        with contextlib.suppress(Problem):  # `_end` looks again
            await published.confirm
        self._inflight.popleft()
        self._end(published, ids)

    def _end(self, published: Published, ids: bytes) -> None:
        self._inflight_bytes -= published.size
        confirm = published.confirm
        problem = (
            unconfirmed(published.task_id, "RabbitMQ did not confirm in time")
            if confirm.cancelled() or not confirm.done()
            else confirm.exception()
        )
        if isinstance(problem, Problem):
            self._count(problem, published.count)
            return
        counts = self.counts
        counts.accepted += published.count
        counts.batches.append(published.task_id)
        counts.sizes.append(published.count)
        if ids and (self._every_id or self._total <= MAX_KEPT_IDS):
            counts.ids.append(ids)

    def _count(self, problem: Problem, count: int) -> None:
        counts = self.counts
        if problem.queued == "unknown":
            counts.unknown += count
        else:
            counts.refused += count
        first = counts.problem
        if first is None or (problem.queued == "unknown" and first.queued != "unknown"):
            counts.problem = problem


def _fitting(documents: Sequence[bytes], room: int) -> Sequence[bytes]:
    """As many of the first documents, with their commas, as the room takes."""
    for index, document in enumerate(documents):
        room -= len(document) + 1
        if room < 0:
            return documents[:index]
    return documents
