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

from gateway.errors import Problem, Queued
from gateway.ingesting.batch_publisher import (
    MAX_BATCH_BYTES,
    MAX_BATCH_DOCUMENTS,
    BatchPublisher,
    Lane,
    Published,
)
from gateway.rabbitmq.confirms import unconfirmed

log = logging.getLogger(__name__)

MAX_DELAY_S: Final = 0.005
"""Longest time that a document waits for company."""
_BUSY_BATCHES: Final = 2
_CROWD: Final = 8
"""Documents in a batch from which on the lane is busy: fewer are a few clients who wait."""


class GroupCommit:
    """Gathers single documents per lane.

    Args:
        publisher: Publishes the batches.
    """

    def __init__(self, publisher: BatchPublisher) -> None:
        self._publisher = publisher
        self._groups: dict[Lane, _Group] = {}

    def __repr__(self) -> str:
        return f"<GroupCommit {len(self._groups)} busy lanes>"

    async def commit(self, lane: Lane, document: bytes) -> str:
        """Publish a document, in company when others arrive at the same time.

        Returns:
            The id of the confirmed batch.

        Raises:
            Problem: As `Publisher.publish`; the whole batch shares it.
        """
        group = self._groups.get(lane)
        if group is None:
            group = self._groups[lane] = _Group(lane, self._publisher, self._forget)
        return await group.join(document)

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
        self._documents: list[bytes] = []
        self._waiters: list[asyncio.Future[str]] = []
        self._size = 0
        self._unconfirmed = 0
        self._next_at = 0.0
        """When the next batch may leave, by the loop's clock."""
        self._flush: asyncio.TimerHandle | None = None

    def join(self, document: bytes) -> "asyncio.Future[str]":
        """Put the document in the next batch; the future is told the batch's id."""
        if self._size + len(document) > MAX_BATCH_BYTES:
            self._publish()
        waiter: asyncio.Future[str] = self._loop.create_future()
        self._documents.append(document)
        self._waiters.append(waiter)
        self._size += len(document) + 1
        if len(self._documents) >= MAX_BATCH_DOCUMENTS or self._may_leave():
            self._publish()
        elif self._flush is None:
            self._flush = self._loop.call_later(MAX_DELAY_S, self._publish)
        return waiter

    def _may_leave(self) -> bool:
        return self._unconfirmed < _BUSY_BATCHES and self._loop.time() >= self._next_at

    def _publish(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if not self._documents:
            return
        documents, waiters = self._documents, self._waiters
        self._documents, self._waiters, self._size = [], [], 0
        if len(documents) >= _CROWD:
            self._next_at = self._loop.time() + MAX_DELAY_S
        try:
            published = self._publisher.publish(self._lane, b",".join(documents), len(documents))
        except Exception as error:  # noqa: BLE001  # called by a timer: the requests must hear of it
            _fail(waiters, _problem(error))
            self._rest()
            return
        self._unconfirmed += 1
        published.confirm.add_done_callback(lambda _: self._settle(published, waiters))

    def _settle(self, published: Published, waiters: "list[asyncio.Future[str]]") -> None:
        cancelled = published.confirm.cancelled()
        error = None if cancelled else published.confirm.exception()
        if cancelled:
            _fail(waiters, unconfirmed(published.task_id, "the wait for its confirm was ended"))
        elif error is not None:
            _fail(waiters, _problem(error, published.task_id))
        else:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(published.task_id)
        self._unconfirmed -= 1
        if self._may_leave():
            self._publish()
        self._rest()

    def _rest(self) -> None:
        """Nothing gathers and nothing is on its way: the lane is idle."""
        if not self._unconfirmed and not self._documents:
            self._forget(self._lane)


def _problem(error: BaseException, task_id: str | None = None) -> Problem:
    """What went wrong with a batch, for its requests."""
    if isinstance(error, Problem):
        return error
    log.error("batch-not-published", exc_info=error)
    queued: Queued = "no" if task_id is None else "unknown"
    return Problem("internal-error", "publishing the batch failed", queued=queued, task_id=task_id)


def _fail(waiters: "list[asyncio.Future[str]]", problem: Problem) -> None:
    """Give each request a problem of its own: an exception carries its traceback."""
    for waiter in waiters:
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
