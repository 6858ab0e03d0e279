"""Batches as task messages: published, with back-pressure for streams, and how each one ended."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from gateway.access.carried import Carried
from gateway.access.copies import Copy
from gateway.access.task_id import TaskIds
from gateway.errors import Problem
from gateway.ingesting.lanes import Lane
from gateway.rabbitmq.burst import Burst
from gateway.rabbitmq.confirms import unconfirmed
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.task_message import task_body
from penstock.wire.ingest import STORE_TASK

log = logging.getLogger(__name__)

_HEAD_BYTES: Final = 1024
"""What a message is longer than its documents, at most or so."""


@dataclass(slots=True)
class Published:
    """A batch on its way."""

    task_id: str
    confirm: "asyncio.Future[None]"
    count: int
    """Documents in it."""
    size: int
    """Octets of its body."""

    def problem(self) -> Problem | None:
        """Return why it may not be queued; None once RabbitMQ has confirmed it."""
        confirm = self.confirm
        if confirm.cancelled() or not confirm.done():
            return unconfirmed(self.task_id, "RabbitMQ did not confirm in time")
        error = confirm.exception()
        if error is None or isinstance(error, Problem):
            return error
        log.error("batch-not-published", exc_info=error)
        return Problem(
            "internal-error", "publishing the batch failed", queued="unknown", task_id=self.task_id
        )


class BatchPublisher:
    """Publishes batches.

    Args:
        publisher: Publishes their messages.
        task_ids: Issues their ids.
        confirm_timeout_s: How long a confirm may take; seconds.
    """

    def __init__(self, publisher: Publisher, task_ids: TaskIds, confirm_timeout_s: float) -> None:
        self._publisher = publisher
        self._task_ids = task_ids
        self.confirm_timeout_s = confirm_timeout_s
        """How long a confirm may take; seconds."""

    def issue(self, lane: Lane) -> str:
        """Make the id of a batch."""
        return self._task_ids.issue(lane.tenant, tracked=lane.tracked)

    def publish(
        self,
        lane: Lane,
        documents: bytes,
        count: int,
        copy: Copy | None = None,
        carried: Carried | None = None,
        burst: Burst | None = None,
    ) -> Published:
        """Publish one batch.

        Args:
            lane: Where to.
            documents: Their JSON, joined by commas.
            count: How many they are.
            copy: What it is a copy of, when its id was issued before; None: a new id.
            carried: What it says of the request; None: what the lane has.
            burst: Of the request, when it publishes several; None: it is alone.

        Raises:
            Problem: As `Publisher.publish` at once (queued: no).
        """
        task_id = copy.task_id if copy else self.issue(lane)
        body = task_body(b"".join((lane.head, documents, b"]]")), b"{}")
        carried = carried or lane.carried
        trace = None if carried is None else carried.trace
        span, handed_on = None, None
        if trace is not None:
            made = lane.template
            address = made.exchange, made.routing_key
            span = trace.publish(STORE_TASK, task_id, address, len(body))
            handed_on = span.traceparent
        confirm = self._publisher.publish(
            lane.template,
            task_id,
            body,
            queue_count=len(lane.queues),
            message_id=copy.message_id if copy else None,
            headers=b"" if carried is None else carried.fields(handed_on),
            burst=burst,
        )
        if span is not None:
            confirm.add_done_callback(span.confirmed)
        confirm.add_done_callback(_retrieve)
        return Published(task_id, confirm, count, len(body))

    async def publish_when_possible(
        self, lane: Lane, documents: bytes, count: int, copy: Copy | None, burst: Burst
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
                        return self.publish(lane, documents, count, copy, burst=burst)
                    except Problem as problem:
                        if problem.code != "overloaded":
                            raise
                    await asyncio.sleep(0)  # others took the room first
        except TimeoutError:
            raise Problem(
                "overloaded", "too many messages wait for a confirm", queued="no"
            ) from None


def _retrieve(confirm: "asyncio.Future[None]") -> None:
    """Look at the outcome: asyncio logs one that is never looked at, as when the client left."""
    if not confirm.cancelled():
        confirm.exception()
