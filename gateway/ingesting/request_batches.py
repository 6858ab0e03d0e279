"""The documents of one request on their way: batches filled, held back, published, counted."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.access.copies import Copy
from gateway.access.work import Work
from gateway.errors import Problem
from gateway.ingesting.batch_publisher import BatchPublisher, Published
from gateway.ingesting.filling import Batch, Filling
from gateway.ingesting.lanes import Lane
from gateway.rabbitmq.burst import Burst
from gateway.sharing.held_bytes import HeldBytes

MAX_INFLIGHT_BATCHES = 32
"""Batches of one request that wait for their confirms; and at most:"""
MAX_INFLIGHT_BYTES = 8 * 1024 * 1024
MAX_LISTED_IDS = 1000
"""Of more documents than these the ids are listed on demand only."""
MAX_KEPT_IDS = 100_000
"""So many are kept all the same: a client that is refused the rest must know which of its documents
are queued. And at most:"""
MAX_KEPT_ID_BYTES = 4 * 1024 * 1024
"""Of their JSON; a client's own may be as long as documents. Unless it asks for every one."""


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


@dataclass(frozen=True, slots=True)
class _Full:
    """A batch that waits to be published."""

    documents: bytes
    """Their JSON, joined by commas."""
    ids: bytes
    """The JSON of their `_id`s, likewise; empty when nothing lists them."""
    count: int


class RequestBatches:
    """Fills batches with one request's documents and publishes them, several at a time.

    Batches are published in the order of the documents, and none after one that failed: what was
    accepted is a prefix of the request, but for batches in flight at the moment of the failure.

    Args:
        publisher: Publishes batches.
        lane: Where to.
        held: Counts what is held back until the body proves sound, and ids until they are told.
        work: Pays for each batch.
        check: Raises a Problem (queued: no) while no batch may follow; asked before each, but for
            copies: what they are copies of may be queued.
        every_id: List the ids however many they are.
        copies: What each batch is a copy of, when its id was issued before.
    """

    def __init__(
        self,
        publisher: BatchPublisher,
        lane: Lane,
        held: HeldBytes,
        work: Work,
        *,
        check: Callable[[], None],
        every_id: bool,
        copies: Sequence[Copy] = (),
    ) -> None:
        self._publisher = publisher
        self._lane = lane
        self._held = held
        self._work = work
        self._check = check
        self._every_id = every_id
        self._lists_ids = True
        self._copies = deque(copies)
        self._filling: Filling[bytes] = Filling()
        self._full: deque[_Full] = deque()
        self._held_bytes = 0
        self._id_bytes = 0
        self._open_bytes = 0
        self._inflight: deque[tuple[Published, bytes]] = deque()
        self._inflight_bytes = 0
        self._burst = Burst()
        self._total = 0
        self.tally = Tally(every_id=every_id)

    @property
    def published(self) -> bool:
        """Whether anything may be queued, or is."""
        return bool(self._inflight or self.tally.accepted or self.tally.unknown)

    def stopped(self) -> bool:
        """Return whether a batch failed, so that no other may follow."""
        return self.tally.problem is not None

    def add(self, documents: Sequence[bytes], ids: Sequence[bytes]) -> None:
        """Put documents in the batch that is being filled, and in further ones.

        Raises:
            Problem: `overloaded`: too much is held back already (queued: no).
        """
        for batch in self._filling.add(documents, ids):
            self._close(batch)

    def count_open(self, pending: int) -> None:
        """Count as held what is in memory outside of full batches, too.

        Args:
            pending: Octets of the document that has begun and not ended.

        Raises:
            Problem: `overloaded` (queued: no).
        """
        size = self._filling.size + pending
        self._hold(size - self._open_bytes)
        self._open_bytes = size

    def close(self) -> int:
        """Fill no further; return how many batches wait to be published."""
        if self._filling.size:
            self._close(self._filling.take())
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
            batch = self._full[0]
            copy = self._copies.popleft() if self._copies else None
            try:
                if copy is None:
                    self._check()
                published = await self._publisher.publish_when_possible(
                    self._lane, batch.documents, batch.count, copy, self._burst
                )
            except Problem as problem:
                self._full.popleft()
                self._count(problem, batch.count)
                return
            self._full.popleft()
            self._hold(-len(batch.documents))
            self._work.charge(1)
            self._inflight.append((published, batch.ids))
            self._inflight_bytes += published.size
        self._collect()

    async def finish(self) -> Tally:
        """Publish what is left and wait until every outcome is known.

        Whatever is not confirmed in time counts as unknown, what is not published as refused.
        """
        self.close()
        await self.publish()
        await self.settle()
        for batch in self._full:
            behind = "a batch before it was not confirmed; not submitted"
            self._count(Problem("overloaded", behind, queued="no"), batch.count)
        self.discard()
        return self.tally

    async def settle(self) -> Tally:
        """Publish nothing more; wait for the outcomes of what is in flight."""
        while self._inflight:
            await self._end_oldest()
        return self.tally

    def discard(self) -> None:
        """Forget what was not published, and ids where nothing was."""
        self._filling.take()
        self._full.clear()
        self._hold(-self._held_bytes)
        self._open_bytes = 0
        if not self.published:
            self.release()

    def release(self) -> None:
        """Count the ids as held no longer: the answer that lists them is made."""
        self._held.hold(self._lane.tenant, -self._id_bytes)
        self._id_bytes = 0

    def _close(self, batch: Batch[bytes]) -> None:
        documents, ids = b",".join(batch.documents), b",".join(batch.owners)
        count = len(batch.documents)
        self._hold(len(documents))
        self._total += count
        if self._lists_ids:
            self._held.hold(self._lane.tenant, len(ids))
            self._id_bytes += len(ids)
            self._lists_ids = self._every_id or (
                self._total <= MAX_KEPT_IDS and self._id_bytes <= MAX_KEPT_ID_BYTES
            )
        if not self._lists_ids:
            ids = b""
            self.tally.ids.clear()
            self.release()
        self._full.append(_Full(documents, ids, count))

    def _hold(self, size: int) -> None:
        """Count octets as held in memory; negative: no longer.

        Raises:
            Problem: `overloaded` (queued: no).
        """
        self._held.hold(self._lane.tenant, size)
        self._held_bytes += size

    def _collect(self) -> None:
        """Count the batches whose outcome is known, in their order."""
        while self._inflight and self._inflight[0][0].confirm.done():
            self._end(*self._inflight.popleft())

    async def _end_oldest(self) -> None:
        published, ids = self._inflight[0]
        await asyncio.wait((published.confirm,))  # `_end` looks at the outcome
        self._inflight.popleft()
        self._end(published, ids)

    def _end(self, published: Published, ids: bytes) -> None:
        self._inflight_bytes -= published.size
        problem = published.problem()
        if problem is not None:
            self._count(problem, published.count)
            return
        tally = self.tally
        tally.accepted += published.count
        tally.batches.append(published.task_id)
        tally.sizes.append(published.count)
        if ids and self._lists_ids:
            tally.ids.append(ids)

    def _count(self, problem: Problem, count: int) -> None:
        tally = self.tally
        if problem.queued == "unknown":
            tally.unknown += count
        else:
            tally.refused += count
        first = tally.problem
        if first is None or (problem.queued == "unknown" and first.queued != "unknown"):
            tally.problem = problem
