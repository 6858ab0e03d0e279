"""Batches of documents as task messages: where they go, and back-pressure for streams of them."""

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import orjson

from gateway.access.kept_results import KeptResults
from gateway.access.task_id import TaskIds
from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.queue_depths import QueueDepths, queue_full
from gateway.rabbitmq.task_message import (
    MessageOptions,
    Template,
    cached_template,
    task_body,
    template,
)
from gateway.sharing.held_bytes import HeldBytes
from penstock.wire.document_rules import collection_fault
from penstock.wire.headers import COPY_HEADER, TENANT_HEADER
from penstock.wire.ingest import CHECKED_HEADER, STORE_TASK
from topology.model import Topology

EXCHANGE: Final = "events"
MAX_BATCH_DOCUMENTS: Final = 1000
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
"""JSON of the documents of a batch; one larger document travels alone."""
_CACHED_LANES: Final = 4096
_HEAD_BYTES: Final = 1024
"""What a message is longer than its documents, at most or so."""


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """Where the batches of one tenant and collection go."""

    tenant: str
    collection: str
    queues: tuple[str, ...]
    """Every queue that takes them; at least one."""
    template: Template = field(repr=False)
    head: bytes = field(repr=False)
    """The arguments up to the first document."""

    @property
    def tracked(self) -> bool:
        """Whether each batch has one result."""
        return len(self.queues) == 1


@dataclass(slots=True)
class Published:
    """A batch on its way."""

    task_id: str
    confirm: "asyncio.Future[None]"
    count: int
    """Documents in it."""
    size: int
    """Octets of its body."""


class BatchPublisher:
    """Finds lanes and publishes batches.

    Args:
        config: Which collections there are.
        topology: Where their batches go.
        task_ids: Issues the ids.
        depths: Knows which queues are full.
        publisher: Publishes.
        held: Counts what requests hold back until their bodies prove sound.
        origin: Who publishes, `penstock@host`.
        kept: Knows which tenants keep too many results.
    """

    def __init__(
        self,
        config: GatewayConfig,
        topology: Topology,
        task_ids: TaskIds,
        depths: QueueDepths,
        publisher: Publisher,
        held: HeldBytes,
        origin: str,
        kept: KeptResults,
    ) -> None:
        self._kept = kept
        self.held = held
        self._topology = topology
        self._task_ids = task_ids
        self._depths = depths
        self._publisher = publisher
        self._origin = origin
        self._id_length = len(task_ids.issue(""))
        self._pattern = re.compile(config.collection_pattern)
        self.confirm_timeout_s = config.confirm_timeout_s
        """How long a confirm may take; seconds."""
        self._lanes: OrderedDict[tuple[str, str], Lane] = OrderedDict()

    def __repr__(self) -> str:
        return f"<BatchPublisher {len(self._lanes)} lanes>"

    def lane(
        self,
        tenant: str,
        collection: str,
        traceparent: str | None = None,
        *,
        copy: str | None = None,
    ) -> Lane:
        """Where a tenant's documents of a collection go.

        Args:
            tenant: Whose they are.
            collection: Where MongoDB is to keep them.
            traceparent: W3C trace context to carry on.
            copy: Names this copy where the same id may be published twice.

        Raises:
            Problem: `unknown-collection`, `unroutable` (queued: no).
        """
        headers = {"traceparent": traceparent, COPY_HEADER: copy}
        given = tuple((name, value) for name, value in headers.items() if value is not None)
        if given:
            return self._make_lane(tenant, collection, given)
        key = (tenant, collection)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = self._make_lane(tenant, collection, ())
            if len(self._lanes) > _CACHED_LANES:
                self._lanes.popitem(last=False)
        return lane

    def check_room(self, lane: Lane) -> None:
        """Refuse early what the queue would refuse, and batches whose results have no room.

        Raises:
            Problem: `queue-full`, `rate-limited` (queued: no).
        """
        self._kept.check(lane.tenant)
        for queue in lane.queues:
            if self._depths.full(queue):
                limit = self._topology.queues[queue].limit
                raise Problem("queue-full", queue_full(queue, limit), queued="no")

    def issue(self, lane: Lane) -> str:
        """Make the id of a batch."""
        return self._task_ids.issue(lane.tenant, tracked=lane.tracked)

    def publish(
        self, lane: Lane, documents: bytes, count: int, copy: tuple[str, str] | None = None
    ) -> Published:
        """Publish one batch.

        Args:
            lane: Where to.
            documents: Their JSON, joined by commas.
            count: How many they are.
            copy: An id issued before, and the message id of this copy; None: new ones.

        Raises:
            Problem: As `Publisher.publish` at once (queued: no).
        """
        task_id, message_id = copy or (self.issue(lane), None)
        body = task_body(b"".join((lane.head, documents, b"]]")), b"{}")
        confirm = self._publisher.publish(
            lane.template,
            task_id,
            body,
            queue_count=len(lane.queues),
            message_id=message_id,
        )
        confirm.add_done_callback(_retrieve)
        return Published(task_id, confirm, count, len(body))

    async def publish_when_possible(
        self, lane: Lane, documents: bytes, count: int, copy: tuple[str, str] | None = None
    ) -> Published:
        """Publish one batch of a stream, waiting while too much is in flight.

        Raises:
            Problem: As `publish`; `overloaded` when waiting did not help (queued: no).
        """
        try:
            async with asyncio.timeout(self.confirm_timeout_s):
                while True:
                    await self._publisher.room(len(documents) + _HEAD_BYTES)
                    try:
                        return self.publish(lane, documents, count, copy)
                    except Problem as problem:
                        if problem.code != "overloaded":
                            raise
                    await asyncio.sleep(0)  # others took the room first
        except TimeoutError:
            raise Problem(
                "overloaded", "too many messages wait for a confirm", queued="no"
            ) from None

    def _make_lane(
        self, tenant: str, collection: str, headers: tuple[tuple[str, str], ...]
    ) -> Lane:
        fault = collection_fault(collection, self._pattern)
        if fault is not None:
            detail = f"{collection!r} cannot be a collection: {fault}"
            raise Problem("unknown-collection", detail, queued="no")
        routing_key = f"documents.{collection}"
        queues = self._topology.match(EXCHANGE, routing_key)
        if not queues:
            raise Problem(
                "unroutable",
                f"no binding of exchange {EXCHANGE!r} matches the routing key {routing_key!r}",
                queued="no",
            )
        make = template if headers else cached_template
        return Lane(
            tenant=tenant,
            collection=collection,
            queues=queues,
            template=make(
                STORE_TASK,
                EXCHANGE,
                routing_key,
                MessageOptions(headers=((CHECKED_HEADER, True), (TENANT_HEADER, tenant), *headers)),
                origin=self._origin,
                id_length=self._id_length,
            ),
            head=b"[%b,[" % orjson.dumps(collection),
        )


def _retrieve(confirm: "asyncio.Future[None]") -> None:
    """Look at the outcome, so that nobody's absence is logged when the client has left."""
    if not confirm.cancelled():
        confirm.exception()
