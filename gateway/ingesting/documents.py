"""The one way in for documents: a single one, an array of them, or NDJSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.access.auth import Caller
from gateway.access.carried import Carried
from gateway.access.copies import Copy
from gateway.access.room import Room
from gateway.access.work import Pace
from gateway.decoding.json_body import JsonSplitter
from gateway.decoding.ndjson import LineSplitter
from gateway.decoding.splitter import WHITESPACE
from gateway.errors import Problem
from gateway.ingesting.batch_publisher import BatchPublisher
from gateway.ingesting.checker import DocumentChecker
from gateway.ingesting.group_commit import GroupCommit
from gateway.ingesting.ingestion import BodyForm, Ingestion
from gateway.ingesting.lanes import Lane, Lanes
from gateway.ingesting.request_batches import RequestBatches
from gateway.sharing.held_bytes import HeldBytes

SINGLE_BYTES: Final = 256 * 1024
"""A JSON body up to this size is read at once; if it is one document it may share its batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is taken at most; octets of JSON."""

    document_bytes: int
    """One document."""
    array_bytes: int
    """A body that is one JSON value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """What a client may choose."""

    key: tuple[str, ...] = ()
    """Fields that an absent `_id` is derived from; none: it is a UUIDv7."""
    every_id: bool = False
    """List the ids of the documents however many they are."""
    skip: bool = False
    """Leave bad documents out instead of refusing the request."""


class Documents:
    """Takes documents in.

    Args:
        lanes: Finds where they go.
        batches: Publishes them.
        room: Knows which queues are full, and which tenants keep too many results.
        held: Counts what requests hold back.
        bounds: Of documents and bodies.
    """

    def __init__(
        self,
        lanes: Lanes,
        batches: BatchPublisher,
        room: Room,
        held: HeldBytes,
        bounds: Bounds,
    ) -> None:
        self._lanes = lanes
        self._batches = batches
        self._room = room
        self._held = held
        self.bounds = bounds
        self._checker = DocumentChecker(bounds.document_bytes)
        self.group_commit = GroupCommit(batches)
        """Gathers single documents."""

    def __repr__(self) -> str:
        """Show what gathers."""
        return f"<Documents {self._lanes!r}, {self.group_commit!r}>"

    def lane(self, caller: Caller, collection: str) -> Lane:
        """Return where a caller's documents go, once it is known that they may.

        Args:
            caller: Who ingests.
            collection: Where MongoDB is to keep them.

        Raises:
            Problem: `unknown-collection`, `unroutable`, `forbidden`, `rate-limited`, `queue-full`
                (queued: no).
        """
        lane = self._lanes.find(caller.tenant, collection)
        if not caller.may_ingest(collection):
            raise Problem("forbidden", f"the key does not allow {collection!r}", queued="no")
        self._check_room(lane)
        return lane

    def _check_room(self, lane: Lane) -> None:
        """Refuse what would take the tenant beyond its quota, or a queue beyond its limit.

        Raises:
            Problem: `rate-limited`, `queue-full`, `broker-unavailable` (queued: no).
        """
        self._room.check_results(lane.tenant)
        self._room.check(lane.queues)

    def copies_of(self, lane: Lane, carried: Carried, nonce: str) -> Lane:
        """Return the lane for batches that may be published twice under one id.

        Args:
            lane: Where they go.
            carried: What their messages say of the request.
            nonce: Names this copy of them.
        """
        return self._lanes.find(lane.tenant, lane.collection, copy=nonce).of(carried)

    def issue(self, lane: Lane, count: int) -> list[str]:
        """Return new ids for so many batches."""
        return [self._batches.issue(lane) for _ in range(count)]

    async def single(self, lane: Lane, body: bytes, carried: Carried) -> tuple[bytes, str] | None:
        """Publish one document, in a batch with others that arrive at the same time.

        One whose request is traced, or has baggage, is alone: a batch has one parent.

        Args:
            lane: Where to.
            body: All of a JSON body.
            carried: What the message says of the request.

        Returns:
            The JSON of its `_id` and the batch's id; None when the body is no sound document: then
            nothing was done, and `begin` reads it with all that can be said of it.

        Raises:
            Problem: As `GroupCommit.commit`.
        """
        if body.lstrip(WHITESPACE).startswith(b"["):
            return None
        checked = self._checker.check((body,), 1, 0)
        if not checked.documents:
            return None
        if carried.alone:
            lane = lane.of(carried)
        task_id = await self.group_commit.commit(lane, checked.documents[0], carried)
        return checked.ids[0], task_id

    def json(self) -> BodyForm:
        """Return how a JSON body is read: a document, or an array of them."""
        return BodyForm(
            splitter=JsonSplitter(self.bounds.document_bytes), max_bytes=self.bounds.array_bytes
        )

    def lines(self) -> BodyForm:
        """Return how NDJSON is read: a document a line, for as long as they come."""
        return BodyForm(splitter=LineSplitter(self.bounds.document_bytes), max_bytes=None)

    def begin(
        self,
        lane: Lane,
        form: BodyForm,
        options: IngestOptions,
        pace: Pace,
        copies: Sequence[Copy] = (),
    ) -> Ingestion:
        """Return what reads the body of one request and publishes its documents.

        Args:
            lane: Where to; of the copies, where there are some.
            form: How the body is read.
            options: What the client chose.
            pace: How fast the request may go.
            copies: Ids that were issued before; the same ones give documents the same `_id`s.
        """
        seed = copies[0].task_id if copies else None
        return Ingestion(
            form,
            DocumentChecker(self.bounds.document_bytes, options.key, seed),
            RequestBatches(
                self._batches,
                lane,
                self._held,
                pace.work,
                check=partial(self._check_room, lane),
                every_id=options.every_id,
                copies=copies,
            ),
            pace,
            skip=options.skip,
        )
