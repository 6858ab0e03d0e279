"""Group commit: documents of requests that arrive together share one batch.

A batch costs a publish, a confirm, a Celery task and an `insert_many`, however few documents are
in it; the task alone costs a worker what 50 documents do. So a busy lane gathers:

    idle ──document──► leaves at once
    busy (2 batches unconfirmed, or the last one was a crowd) ──► gathers until a batch is confirmed
        and a crowd has left 5 ms ago, until it is full, or until its first document waits for 5 ms

Each lane gathers by itself and has few batches under way, so no tenant waits for another's.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from gateway.access.carried import Carried
from gateway.errors import Problem
from gateway.ingesting.batch_publisher import BatchPublisher, Published
from gateway.ingesting.filling import Batch, Filling
from gateway.ingesting.lanes import Lane

log = logging.getLogger(__name__)

MAX_DELAY_S: Final = 0.005
"""Longest time that a document waits for company."""
_BUSY_BATCHES: Final = 2
_CROWD: Final = 8
"""Documents in a batch from which on the lane is busy: fewer are a few clients who wait."""

_Waiter = tuple[asyncio.Future[str], Carried]
"""A request that waits for the id of its document's batch, and what the message says of it."""


class GroupCommit:
    """Gathers single documents per lane.

    Args:
        publisher: Publishes the batches.
    """

    def __init__(self, publisher: BatchPublisher) -> None:
        self._publisher = publisher
        self._groups: dict[Lane, _Group] = {}

    def __repr__(self) -> str:
        """Count the lanes that are busy."""
        return f"<GroupCommit {len(self._groups)} busy lanes>"

    def commit(self, lane: Lane, document: bytes, carried: Carried) -> "asyncio.Future[str]":
        """Publish a document, in company when others arrive at the same time.

        Args:
            lane: Where to.
            document: Its JSON.
            carried: What the message says of the request, if that is the first of its batch.

        Returns:
            What resolves to the id of the batch when that is confirmed, or raises Problem as
            `Publisher.publish` does; the whole batch shares it.
        """
        group = self._groups.get(lane)
        if group is None:
            group = self._groups[lane] = _Group(lane, self._publisher, self._forget)
        return group.join(document, carried)

    def _forget(self, lane: Lane) -> None:
        self._groups.pop(lane, None)


class _Group:
    """What gathers for one lane."""

    def __init__(
        self, lane: Lane, publisher: BatchPublisher, forget: Callable[[Lane], None]
    ) -> None:
        self._lane = lane
        self._publisher = publisher
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._filling: Filling[_Waiter] = Filling()
        self._unconfirmed = 0
        self._next_at = 0.0
        """When the next batch may leave, by the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def join(self, document: bytes, carried: Carried) -> asyncio.Future[str]:
        """Put the document in the next batch; the future resolves to the batch's id."""
        waiter: asyncio.Future[str] = self._loop.create_future()
        for batch in self._filling.add((document,), ((waiter, carried),)):
            self._publish(batch)
        if self._filling.size:
            if self._may_leave():
                self._flush()
            elif self._timer is None:
                self._timer = self._loop.call_later(MAX_DELAY_S, self._flush)
        return waiter

    def _may_leave(self) -> bool:
        return self._unconfirmed < _BUSY_BATCHES and self._loop.time() >= self._next_at

    def _flush(self) -> None:
        """Publish what has gathered."""
        if self._filling.size:
            self._publish(self._filling.take())

    def _publish(self, batch: Batch[_Waiter]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        documents = batch.documents
        if len(documents) >= _CROWD:
            self._next_at = self._loop.time() + MAX_DELAY_S
        try:
            published = self._publisher.publish(
                self._lane,
                b",".join(documents),
                len(documents),
                carried=batch.owners[0][1].shared(len(documents)),
            )
        except Problem as problem:
            _fail(batch.owners, problem)
            self._rest()
        except Exception:  # called by a timer: the requests would wait for ever
            log.exception("batch-not-published")
            _fail(
                batch.owners, Problem("internal-error", "publishing the batch failed", queued="no")
            )
            self._rest()
        else:
            self._unconfirmed += 1
            published.confirm.add_done_callback(lambda _: self._settle(published, batch.owners))

    def _settle(self, published: Published, waiters: list[_Waiter]) -> None:
        problem = published.problem()
        if problem is not None:
            _fail(waiters, problem)
        else:
            for waiter, _ in waiters:
                if not waiter.done():
                    waiter.set_result(published.task_id)
        self._unconfirmed -= 1
        if self._may_leave():
            self._flush()
        self._rest()

    def _rest(self) -> None:
        """Forget the lane while nothing gathers and nothing is on its way."""
        if not self._unconfirmed and not self._filling.size:
            self._forget(self._lane)


def _fail(waiters: list[_Waiter], problem: Problem) -> None:
    """Give each request a problem of its own: an exception carries its traceback."""
    for waiter, _ in waiters:
        if not waiter.done():
            waiter.set_exception(
                Problem(
                    problem.code,
                    problem.detail,
                    queued=problem.queued,
                    task_id=problem.task_id,
                    retry_after_s=problem.retry_after_s,
                )
            )
