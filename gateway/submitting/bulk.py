"""Many tasks of one request: published pipelined, their outcomes told in the order of the lines.

line ──prepare──► refused ─────────────────────────┐
         └──publish──► confirm awaited ──► ended ──┴─► told when all lines before it are
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

import orjson

from gateway.access.auth import Caller
from gateway.access.work import Work
from gateway.decoding.splitter import TOO_LONG, Part
from gateway.decoding.steps import LARGE_BYTES, Pause, slices
from gateway.errors import Problem
from gateway.http.body import too_large
from gateway.rabbitmq.publisher import Publisher
from gateway.submitting.absent_tasks import SeemsAbsentError
from gateway.submitting.prepared import Prepared
from gateway.submitting.submission import Submission
from gateway.submitting.task_request import TaskRequest, parse_in_turns

Listing = Literal["errors", "all", "none"]
"""Which outcomes the answer lists."""

MAX_INFLIGHT: Final = 4096
"""Lines of one request that wait for their confirms."""
_SLICE_LINES: Final = 128


class Bulk:
    """Publishes the tasks of one request.

    Args:
        submission: Prepares and publishes.
        publisher: Tells when there is room.
        caller: Who submits.
        traceparent: Trace context of the request.
        work: Pays for the tasks, one piece for each line, accepted or refused.
        pause: Leaves the loop to others when it is their turn; raises ConnectionResetError when the
            client has left.
        slowed: Wait while the caller's key is in debt; else all is published at once.
        max_task_bytes: Bound of a line.
        patience_s: How long to wait for room before a line is refused as `overloaded`.
        listing: Which outcomes the answer lists.
        tell: Takes the JSON of an outcome, in order.
    """

    def __init__(
        self,
        submission: Submission,
        publisher: Publisher,
        caller: Caller,
        traceparent: str | None,
        *,
        work: Work,
        pause: Pause,
        slowed: bool,
        max_task_bytes: int,
        patience_s: float,
        listing: Listing,
        tell: Callable[[bytes], None],
    ) -> None:
        self._submission = submission
        self._publisher = publisher
        self._caller = caller
        self._traceparent = traceparent
        self._work = work
        self._pause = pause
        self._slowed = slowed
        self._max_bytes = max_task_bytes
        self._patience_s = patience_s
        self._listing = listing
        self._tell = tell
        self._pending: deque[tuple[int, str, asyncio.Future[None] | Problem]] = deque()
        self._refusals = _Refusals()
        self._gave_up = False
        self._looked = False
        """Whether it was looked up, since these lines came, which tasks workers have."""
        self._watched: asyncio.Future[None] | None = None
        self.line = 0
        """Lines read."""
        self.accepted = 0
        self.rejected = 0
        self.unknown = 0
        """Those of `rejected` that may be queued all the same."""

    async def take(self, lines: Part) -> None:
        """Publish a task for each line; waits while too many are in flight.

        Args:
            lines: From a splitter, one task each.

        Raises:
            ConnectionResetError: The client has left.
        """
        if isinstance(lines, int):
            self.line += lines
            await self._pause()
            return
        self._looked = False
        for part in slices(lines, _SLICE_LINES):
            if self._slowed:
                await self._work.pause()
            await self._make_room()
            tasks = 0
            for raw in part:
                self.line += 1
                if not raw:
                    continue
                await self._take_one(raw)
                tasks += 1
            self._work.charge(tasks)
            self._collect()
            await self._pause()

    async def _take_one(self, raw: bytes) -> None:
        task: bytes | TaskRequest = raw
        try:
            if len(raw) > LARGE_BYTES:
                task = await parse_in_turns(raw, self._pause)
            self._publish(task)
        except SeemsAbsentError as seems:
            await self._submission.absent.look(seems)
            self._looked = True
            self._publish(task)
        except Problem as problem:
            self._pending.append((self.line, "", problem))

    async def settle(self) -> None:
        """Wait until every outcome is known and told, half a second over a confirm at most."""
        deadline = asyncio.get_running_loop().time() + self._patience_s + 0.5
        while self._pending:
            _, _, end = self._pending[0]
            if not isinstance(end, Problem) and not end.done():
                left = deadline - asyncio.get_running_loop().time()
                await asyncio.wait((end,), timeout=max(left, 0))
                if not end.done():
                    end.cancel()
            self._collect()

    def summary(self) -> dict[str, Any]:
        """The counts, as they are told last."""
        counts = {"accepted": self.accepted, "rejected": self.rejected}
        if self.unknown:
            counts["unknown"] = self.unknown
        return counts

    def refuse(self, problem: Problem) -> None:
        """Put a refusal of the rest of the body in the place of the next line."""
        self._pending.append((self.line + 1, "", problem))

    def _publish(self, raw: bytes | TaskRequest) -> None:
        try:
            if raw is TOO_LONG:
                raise too_large(self._max_bytes)
            prepared = self._prepare(raw)
            confirm = self._submission.publish(prepared)
        except Problem as problem:
            self._pending.append((self.line, "", problem))
        else:
            self._pending.append((self.line, prepared.task_id, confirm))

    def _prepare(self, raw: bytes | TaskRequest) -> Prepared:
        submission = self._submission
        if not self._looked:
            return submission.prepare(raw, self._caller, self._traceparent)
        return submission.absent.decide(
            lambda: submission.prepare(raw, self._caller, self._traceparent)
        )

    async def _make_room(self) -> None:
        """Wait until neither this request nor all of them have too much in flight.

        When that takes too long the next lines are refused, one by one, as `overloaded`.
        """
        while len(self._pending) > MAX_INFLIGHT - _SLICE_LINES:
            _, _, end = self._pending[0]
            if not isinstance(end, Problem):
                await asyncio.wait((end,))
            self._collect()
        try:
            async with asyncio.timeout(0 if self._gave_up else self._patience_s):
                await self._publisher.room()
        except TimeoutError:
            self._gave_up = True  # once is enough: the rest is answered promptly
        except Problem:
            return  # each line is told the same when it is published
        else:
            self._gave_up = False

    def _collect(self) -> None:
        """Tell the outcomes that are known, up to the first that is not."""
        pending = self._pending
        every = self._listing == "all"
        while pending:
            line, task_id, end = pending[0]
            if isinstance(end, Problem):
                problem: BaseException | None = end
            elif not end.done():
                if every and end is not self._watched:
                    # Told as soon as it is known, also when no further line comes.
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
                self.rejected += 1
                self.unknown += problem.queued == "unknown"
                if self._listing != "none":
                    self._tell(self._refusals.write(line, problem))
            else:
                self.accepted += 1
                if every:
                    self._tell(b'{"line":%d,"status":202,"id":"%b"}' % (line, task_id.encode()))


class _Refusals:
    """Writes the outcomes of refused lines, most of which differ by nothing but their line."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, str], bytes] = {}

    def write(self, line: int, problem: Problem) -> bytes:
        """The outcome of a line as JSON."""
        code, detail = problem.code, problem.detail
        rest = self._written.get((code, detail))
        if rest is None:
            rest = _rest(problem)
            # One fault is in the detail; others, and what is queued, are not.
            if problem.queued == "no" and len(problem.faults) < 2 and code not in _DIFFERENT:
                if len(self._written) >= _MOST_WRITTEN:
                    self._written.clear()
                self._written[code, detail] = rest
        return b'{"line":%d,%b' % (line, rest)


_MOST_WRITTEN: Final = 256
_DIFFERENT: Final = frozenset({"invalid-arguments", "unknown-task"})
"""Whose refusals may differ where their details are alike."""


def _rest(problem: Problem) -> bytes:
    """What follows the line's number."""
    body = problem.body()
    told = {"status": problem.status, "code": problem.code, "detail": problem.detail}
    told |= {
        name: body[name] for name in ("queued", "id", "errors", "near", "quota") if name in body
    }
    return orjson.dumps(told)[1:]
