"""Many tasks of one request: published pipelined, their outcomes written in the order of the lines.

line ──prepare──► refused ─────────────────────────┐
         └──publish──► confirm awaited ──► ended ──┴─► written when all lines before it are
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Final

from gateway.access.auth import Caller
from gateway.access.carried import Carried
from gateway.access.work import Pace
from gateway.decoding.splitter import TOO_LONG, Part
from gateway.decoding.steps import LARGE_BYTES, slices
from gateway.errors import Problem
from gateway.http.body import too_large
from gateway.submitting.absent_tasks import SeemsAbsentError
from gateway.submitting.bulk_outcomes import BulkOutcomes
from gateway.submitting.plan import TaskMessage
from gateway.submitting.submission import Submission
from gateway.submitting.task_request import TaskRequest, parse_in_turns

MAX_INFLIGHT: Final = 4096
"""Lines of one request that wait for their confirms."""
_SLICE_LINES: Final = 128
_STANDSTILL_S: Final = 1.0
"""How long room is waited for behind the deadline: an array that RabbitMQ confirms all the while is
published to its end, however long that takes."""
_SETTLE_S: Final = 0.5
"""Behind the deadline: the publisher itself ends the wait for a confirm, in between."""
_NO_ROOM: Final = Problem(
    "overloaded", "too many messages wait for a confirm; not submitted", queued="no"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkTerms:
    """On which terms the lines of one request are published."""

    caller: Caller
    carried: Carried
    """What the messages say of the request."""
    max_task_bytes: int
    """Bound of a line."""
    patience_s: float
    """How long to wait, once lines have come, for room and for their confirms."""


class Bulk:
    """Publishes the tasks of one request.

    Args:
        submission: Prepares and publishes.
        terms: Whose the tasks are, and how long they may take.
        outcomes: Takes the outcome of each line, in order.
        pace: Pays for the tasks, one piece for each line, accepted or refused, and shares the loop.
    """

    def __init__(
        self, submission: Submission, terms: BulkTerms, outcomes: BulkOutcomes, pace: Pace
    ) -> None:
        self._submission = submission
        self._terms = terms
        self._pace = pace
        self._pending: deque[tuple[int, str, asyncio.Future[None] | Problem]] = deque()
        self._full = False
        """Whether room was waited for in vain."""
        self._looked = False
        """Whether it was looked up, since these lines came, which tasks workers have."""
        self._watched: asyncio.Future[None] | None = None
        self.outcomes = outcomes
        """What became of the lines so far."""
        self.line = 0
        """Lines read."""
        self.arrived()

    def arrived(self) -> None:
        """Set the deadline of the lines that have come: call it when more of the body has."""
        self._deadline = asyncio.get_running_loop().time() + self._terms.patience_s

    async def take(self, lines: Part) -> None:
        """Publish a task for each line; waits while too many are in flight.

        Args:
            lines: From a splitter, one task each.

        Raises:
            ConnectionResetError: The client has left.
        """
        if isinstance(lines, int):
            self.line += lines
            await self._pace.turn()
            return
        self._looked = False
        for part in slices(lines, _SLICE_LINES):
            await self._pace.begin()
            await self._make_room()
            tasks = 0
            for raw in part:
                self.line += 1
                if not raw:
                    continue
                await self._take_one(raw)
                tasks += 1
            self._pace.work.charge(tasks)
            self._collect()
            await self._pace.turn()

    async def _take_one(self, raw: bytes) -> None:
        if self._full:
            self.refuse(_NO_ROOM, self.line)
            return
        task: bytes | TaskRequest = raw
        try:
            if len(raw) > LARGE_BYTES:
                task = await parse_in_turns(raw, self._pace.turn)
            self._publish(task)
        except SeemsAbsentError as seems:
            with contextlib.suppress(TimeoutError):  # without an answer it is a doubt
                async with asyncio.timeout_at(self._until):
                    await self._submission.absent.look(seems)
            self._looked = True
            self._publish(task)
        except Problem as problem:
            self.refuse(problem, self.line)

    @property
    def _until(self) -> float:
        """When to wait no longer, by the clock of the loop."""
        return max(self._deadline, asyncio.get_running_loop().time() + _STANDSTILL_S)

    async def settle(self) -> None:
        """Wait until every outcome is known and written, up to half a second over the deadline."""
        loop = asyncio.get_running_loop()
        deadline = max(self._deadline, loop.time()) + _SETTLE_S
        while self._pending:
            _, _, end = self._pending[0]
            if not isinstance(end, Problem) and not end.done():
                await asyncio.wait((end,), timeout=max(deadline - loop.time(), 0))
                if not end.done():
                    end.cancel()
            self._collect()

    def refuse(self, problem: Problem, line: int | None = None) -> None:
        """Put a refusal in the place of a line; None: of the next, for the rest of the body."""
        line = self.line + 1 if line is None else line
        if self._pending:
            self._pending.append((line, "", problem))
        else:
            self.outcomes.add_refused(line, problem)

    def _publish(self, raw: bytes | TaskRequest) -> None:
        try:
            if raw is TOO_LONG:
                raise too_large(self._terms.max_task_bytes)
            message = self._prepare(raw)
            confirm = self._submission.publish(message)
        except Problem as problem:
            self.refuse(problem, self.line)
        else:
            self._pending.append((self.line, message.task_id, confirm))

    def _prepare(self, raw: bytes | TaskRequest) -> TaskMessage:
        submission, terms = self._submission, self._terms
        if not self._looked:
            return submission.prepare(raw, terms.caller, terms.carried)
        return submission.absent.decide(
            lambda: submission.prepare(raw, terms.caller, terms.carried)
        )

    async def _make_room(self) -> None:
        """Wait until neither this request nor all of them have too much in flight.

        Without room in time the next lines are refused as `overloaded`, until there is room.
        """
        until = 0.0 if self._full else self._until  # once is enough: the rest is answered promptly
        try:
            async with asyncio.timeout_at(until):
                while len(self._pending) > MAX_INFLIGHT - _SLICE_LINES:
                    _, _, end = self._pending[0]
                    if not isinstance(end, Problem) and not end.done():
                        await asyncio.wait((end,))
                    self._collect()
                await self._submission.room()
        except TimeoutError:
            self._full = True
        except Problem:
            self._full = False  # each line meets the same when it is published
        else:
            self._full = False

    def _collect(self) -> None:
        """Hand over the outcomes that are known, up to the first that is not."""
        pending, outcomes = self._pending, self.outcomes
        while pending:
            line, task_id, end = pending[0]
            if isinstance(end, Problem):
                problem: BaseException | None = end
            elif not end.done():
                if outcomes.every and end is not self._watched:
                    # Written as soon as it is known, also when no further line comes.
                    self._watched = end
                    end.add_done_callback(lambda _: self._collect())
                return
            elif end.cancelled():
                problem = Problem(
                    "unconfirmed", "no confirm in time", queued="unknown", task_id=task_id
                )
            else:
                problem = end.exception()
            pending.popleft()
            if isinstance(problem, Problem):
                outcomes.add_refused(line, problem)
            else:
                outcomes.add_accepted(line, task_id)
