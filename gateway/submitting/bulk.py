"""Many tasks of one request: published pipelined, their outcomes written in the order of the lines.

line ──prepare──► refused ─────────────────────────┐
         └──publish──► confirm awaited ──► ended ──┴─► written when all lines before it are
"""

import asyncio
import contextlib
import time
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
from gateway.rabbitmq.burst import Burst
from gateway.submitting.absent_tasks import SeemsAbsentError
from gateway.submitting.bulk_outcomes import BulkOutcomes
from gateway.submitting.plan import TaskMessage
from gateway.submitting.submission import Submission
from gateway.submitting.task_request import TaskRequest, parse_in_turns

MAX_INFLIGHT: Final = 4096
"""Lines of one request that wait for their confirms."""
_SLICE_LINES: Final = 128
_LOOK_S: Final = 1.0
"""How long it may take to look up which tasks workers have."""
_SOON_S: Final = 0.5
"""Behind a look that took longer the next lines are a doubt: each of them would take as long."""
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
    doubt_s: float
    """How long it is not looked up which tasks workers have, once that was slow."""


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
        self._doubt_until = 0.0
        self._burst = Burst()
        self._watched: asyncio.Future[None] | None = None
        self.outcomes = outcomes
        """What became of the lines so far."""
        self.line = 0
        """Lines read."""

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
            await self._look(seems)
            self._publish(task)
        except Problem as problem:
            self.refuse(problem, self.line)

    async def _look(self, seems: SeemsAbsentError) -> None:
        """Look up which tasks workers have; without an answer in time it is a doubt."""
        self._looked = True
        began = time.monotonic()
        if began < self._doubt_until:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._submission.absent.look(seems)
        ended = time.monotonic()
        if ended - began > _SOON_S:
            self._doubt_until = ended + self._terms.doubt_s

    async def settle(self) -> None:
        """Wait until every outcome is known and written: the publisher ends each wait."""
        while self._pending:
            await self._end_first()

    async def _end_first(self) -> None:
        """Wait for the first outcome that is not known; hand over all that are."""
        _, _, end = self._pending[0]
        if not isinstance(end, Problem) and not end.done():
            await asyncio.wait((end,))  # `_collect` looks at the outcome
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
            confirm = self._submission.publish(message, self._burst)
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
        while len(self._pending) > MAX_INFLIGHT - _SLICE_LINES:
            await self._end_first()
        if self._full and not self._submission.has_room():
            return  # once is enough: the rest is answered promptly
        try:
            await self._submission.room()
            self._full = False
        except Problem as problem:  # of any other each line is told when it is published
            self._full = problem.code == "overloaded"

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
