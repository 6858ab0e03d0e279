"""One request's documents from the chunks of its body to the outcomes of its batches.

    holding ──8 MiB are sound, or the body has ended──► publishing ──► settled
       │                                                    │
       └── a bad document: nothing is stored                └── a bad document, a refusal, or a
                                                                client that leaves: a prefix is

An array is held back as a whole (≤ 64 MiB): its end decides whether it was JSON at all.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.access.work import Work
from gateway.decoding.json_array import JsonSplitter
from gateway.decoding.splitter import MalformedBodyError, Part, Splitter
from gateway.decoding.steps import LARGE_BYTES, Pause, in_turns, slices
from gateway.errors import Problem
from gateway.http.body import too_large
from gateway.ingesting.batch_publisher import BatchPublisher, Lane
from gateway.ingesting.checker import CheckedSlice, DocumentChecker, FaultyDocument
from gateway.ingesting.request_batches import RequestBatches, Tally

HELD_BYTES: Final = 8 * 1024 * 1024
"""A fault before this offset of an NDJSON body stores nothing."""
MAX_NAMED_FAULTS: Final = 100
"""Bad documents that a 422 names."""
MAX_LISTED_REJECTED: Final = 1000
"""Skipped documents that a 207 names; all are counted."""
_SLICE_DOCUMENTS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the body is."""

    splitter: Splitter
    max_bytes: int | None
    """Bound of the expanded body; None: a stream of any length."""

    @property
    def streamed(self) -> bool:
        """Whether batches may leave before the body has ended."""
        return self.max_bytes is None


class Ingestion:
    """Checks, fills batches and publishes while the body is still being read.

    Args:
        publisher: Publishes batches.
        lane: Where to.
        checker: Checks documents.
        form: What the body is.
        work: Pays for the batches and for refused documents, one piece each; a stream waits while
            its key is in debt.
        pause: Leaves the loop to others when it is their turn; raises ConnectionResetError when the
            client has left.
        skip: Leave bad documents out, instead of refusing the request.
        every_id: List the ids however many they are.
        copies: (Task id, message id) of each batch, when they were issued before.
    """

    def __init__(
        self,
        publisher: BatchPublisher,
        lane: Lane,
        checker: DocumentChecker,
        form: Form,
        work: Work,
        *,
        pause: Pause,
        skip: bool,
        every_id: bool,
        copies: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._batches = RequestBatches(publisher, lane, work, every_id=every_id, copies=copies)
        self._work = work
        self._checker = checker
        self._form = form
        self._pause = pause
        self._skip = skip
        self._holding = True
        self._seen = 0
        self._faults: list[FaultyDocument] = []
        self.line = 0
        """Lines or elements read."""
        self.complete = False
        """Whether the body was read to its end."""
        self.rejected: list[FaultyDocument] = []
        """Documents that were skipped, the first of them."""
        self.rejected_count = 0

    @property
    def published(self) -> bool:
        """Whether anything may be queued, or is."""
        return self._batches.published

    async def count_batches(self, chunks: AsyncIterator[bytes]) -> int:
        """Read a whole body that is held back, publish nothing: how many batches would it be?

        Raises:
            Problem: The body is refused (queued: no).
        """
        try:
            await self._read(chunks)
            if self._faults:
                raise self._invalid()
            return self._batches.close()
        except MalformedBodyError as error:
            raise Problem("malformed-json", str(error), queued="no") from None
        finally:
            self._batches.discard()

    async def run(self, chunks: AsyncIterator[bytes]) -> Tally:
        """Read the body and settle everything.

        Raises:
            Problem: The body is refused; `queued` tells whether a prefix of it was accepted.
            ConnectionResetError: The client has left; `published` tells whether that holds of it.
        """
        try:
            try:
                await self._read(chunks)
            except Problem as problem:
                raise await self._cut_short(problem) from None
            except MalformedBodyError as error:
                raise Problem("malformed-json", str(error), queued="no") from None
            if self._faults and self._holding:
                raise self._invalid()
            counts = await self._batches.finish()
            if self._faults:
                raise _partly(self._invalid(), counts)
            return counts
        finally:
            self._batches.discard()

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        form, batches = self._form, self._batches
        splitter = form.splitter
        async for chunk in chunks:
            self._seen += len(chunk)
            if form.max_bytes is not None and self._seen > form.max_bytes:
                raise too_large(form.max_bytes)
            await self._feed(splitter.feed(chunk))
            batches.count_open(splitter.pending_bytes)
            if self._holding and form.streamed:
                self._holding = self._seen - splitter.pending_bytes < HELD_BYTES
                if self._faults and not self._holding:
                    raise self._invalid()
            if not self._holding:
                await batches.publish()
            if batches.stopped() or (self._faults and not self._holding):
                return
        await self._feed(splitter.end())
        self.complete = True

    async def _feed(self, parts: Iterable[Part]) -> None:
        """Take what a splitter gives, up to a fault behind which nothing is of use."""
        for part in parts:
            if isinstance(part, int):
                self.line += part
                await self._pause()
                continue
            await self._take(part)
            if self._faults and not self._holding:
                return

    async def _take(self, raws: Sequence[bytes]) -> None:
        """Check documents in slices that leave the loop to others."""
        for part in slices(raws, _SLICE_DOCUMENTS):
            if self._form.streamed:
                await self._work.pause()
            if len(part[0]) > LARGE_BYTES:
                steps = self._checker.check_large(part[0], self.line + 1)
                checked = await in_turns(steps, self._pause)
            else:
                most = MAX_LISTED_REJECTED - len(self.rejected) if self._skip else MAX_NAMED_FAULTS
                checked = self._checker.check(part, self.line + 1, most)
            self._work.charge(checked.rejected_count)
            if checked.rejected and not self._skip:
                if self._reject(part, checked):
                    return
            else:
                self.line += len(part)
                self.rejected_count += checked.rejected_count
                room = MAX_LISTED_REJECTED - len(self.rejected)
                self.rejected += checked.rejected[:room]
                if not self._faults:
                    self._batches.add(checked.documents, checked.ids)
            await self._pause()

    def _reject(self, part: Sequence[bytes], checked: CheckedSlice) -> bool:
        """Note the faults; True when reading on is of no use."""
        if not self._holding:
            good = part[: checked.rejected[0].line - self.line - 1]
            before = self._checker.check(good, self.line + 1)
            self._batches.add(before.documents, before.ids)
            self.line = checked.rejected[0].line
            self._faults = checked.rejected[:1]
            return True
        self._batches.discard()
        self._faults += checked.rejected
        self.line += len(part)
        if len(self._faults) >= MAX_NAMED_FAULTS:
            raise self._invalid()
        return False

    async def _cut_short(self, problem: Problem) -> Problem:
        """The body's own refusal, telling what of it is queued already."""
        if not self._batches.published:
            return problem
        return _partly(problem, await self._batches.settle())

    def _invalid(self) -> Problem:
        faults = self._faults[:MAX_NAMED_FAULTS]
        whole = isinstance(self._form.splitter, JsonSplitter)
        malformed = whole and any(one.fault.malformed for one in faults)
        first = faults[0]
        return Problem(
            "malformed-json" if malformed else "invalid-document",
            f"line {first.line}: {first.fault.detail}",
            queued="no",
            members={"errors": [self.described(one) for one in faults]},
        )

    def told_rejected(self) -> dict[str, Any]:
        """The members of an answer that name the skipped documents; none when there are none."""
        if not self.rejected_count:
            return {}
        return {
            "rejected": [self.described(one) for one in self.rejected],
            "rejected_count": self.rejected_count,
        }

    def described(self, faulty: FaultyDocument) -> dict[str, Any]:
        """A bad document as JSON."""
        at = faulty.fault.at
        splitter = self._form.splitter
        if isinstance(splitter, JsonSplitter) and splitter.is_array:
            at = f"$[{faulty.line - 1}]{at[1:]}"
        return {"line": faulty.line, "at": at, "detail": faulty.fault.detail}


def _partly(problem: Problem, counts: Tally) -> Problem:
    """A refusal of the rest of a body of which a prefix was accepted."""
    if counts.accepted:
        problem.queued = "yes"
    elif counts.unknown:
        problem.queued = "unknown"
    problem.members |= {
        "accepted": counts.accepted,
        "refused": counts.refused,
        "unknown": counts.unknown,
        "batches": counts.batches,
    }
    ids = counts.kept_ids_json  # nobody else can tell which of its documents those were
    if ids is not None:
        problem.members["ids"] = orjson.Fragment(ids)
    return problem
