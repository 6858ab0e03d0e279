"""One request's documents from the chunks of its body to the outcomes of its batches.

    holding ──8 MiB are sound, or the body has ended──► publishing ──► settled
       │                                                    │
       └── a bad document: nothing is stored                └── a bad document, a refusal, or a
                                                                client that leaves: a prefix is

An array is held back as a whole (≤ 64 MiB): its end decides whether it was JSON at all.
"""

from array import array
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.access.work import Pace
from gateway.decoding.splitter import MalformedBodyError, Part, Splitter
from gateway.decoding.steps import LARGE_BYTES, in_turns, slices
from gateway.errors import Problem, malformed_json
from gateway.http.body import too_large
from gateway.ingesting.checker import CheckedSlice, DocumentChecker, FaultyDocument
from gateway.ingesting.request_batches import RequestBatches, Tally
from gateway.ingesting.stored import MAX_KEPT_PLACES

HELD_BYTES: Final = 8 * 1024 * 1024
"""A fault before this offset of an NDJSON body stores nothing."""
MAX_NAMED_FAULTS: Final = 100
"""Bad documents that a 422 names."""
MAX_LISTED_REJECTED: Final = 1000
"""Skipped documents that a 207 names; all are counted."""
_SLICE_DOCUMENTS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyForm:
    """How a body is read."""

    splitter: Splitter
    """Cuts it into the texts of documents."""
    max_bytes: int | None
    """Bound of the expanded body; None: a stream of any length."""

    @property
    def streamed(self) -> bool:
        """Whether batches may leave before the body has ended."""
        return self.max_bytes is None


class Ingestion:
    """Checks, fills batches and publishes while the body is still being read.

    Whoever has it run calls `release` once the answer is made.

    Args:
        form: How the body is read.
        checker: Checks its documents.
        batches: Takes the good ones.
        pace: Pays for refused documents, one piece each, and shares the loop.
        skip: Leave bad documents out, instead of refusing the request.
    """

    def __init__(
        self,
        form: BodyForm,
        checker: DocumentChecker,
        batches: RequestBatches,
        pace: Pace,
        *,
        skip: bool,
    ) -> None:
        self._form = form
        self._checker = checker
        self._batches = batches
        self._pace = pace
        self._skip = skip
        self._most_named = MAX_LISTED_REJECTED if skip else MAX_NAMED_FAULTS
        self._holding = True
        self._seen = 0
        self._faulty: list[FaultyDocument] = []
        self._faulty_count = 0
        self._good_count = 0
        self.skipped_behind = array("Q")
        """Of each skipped document, how many that were not are before it; of the first ones."""
        self.line = 0
        """Lines or elements read."""
        self.complete = False
        """Whether the body was read to its end."""

    @property
    def tally(self) -> Tally:
        """How the documents ended so far."""
        return self._batches.tally

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
            if self._spoiled:
                raise self._invalid()
            return self._batches.close()
        except MalformedBodyError as error:
            raise malformed_json(str(error)) from None
        finally:
            self._batches.discard()

    async def run(self, chunks: AsyncIterator[bytes]) -> Tally:
        """Read the body and settle everything.

        Raises:
            Problem: The body is refused; `queued` says whether a prefix of it was accepted.
            ConnectionResetError: The client has left; `published` says whether a prefix was.
        """
        try:
            try:
                await self._read(chunks)
            except Problem as problem:
                raise await self._cut_short(problem) from None
            except MalformedBodyError as error:
                raise malformed_json(str(error)) from None
            if self._spoiled and self._holding:
                raise self._invalid()
            tally = await self._batches.finish()
            if self._spoiled:
                raise _partly(self._invalid(), tally)
            return tally
        finally:
            self._batches.discard()

    def release(self) -> None:
        """Count what the answer needed as held no longer."""
        self._batches.release()

    def rejected(self) -> dict[str, Any]:
        """Return the members of an answer that name the skipped documents; none without any."""
        if not self._skip or not self._faulty_count:
            return {}
        return {
            "rejected": [self._described(one) for one in self._faulty],
            "rejected_count": self._faulty_count,
        }

    @property
    def _spoiled(self) -> bool:
        """Whether a bad document refuses the request."""
        return bool(self._faulty) and not self._skip

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        form, batches = self._form, self._batches
        splitter = form.splitter
        async for chunk in chunks:
            self._seen += len(chunk)
            if form.max_bytes is not None and self._seen > form.max_bytes:
                raise too_large(form.max_bytes)
            await self._take(splitter.feed(chunk))
            await self._pace.turn()  # also where no document ends in a chunk
            batches.count_open(splitter.pending_bytes)
            if self._holding and form.streamed:
                self._holding = self._seen - splitter.pending_bytes < HELD_BYTES
                if self._spoiled and not self._holding:
                    raise self._invalid()
            if not self._holding:
                await batches.publish()
            if batches.stopped() or (self._spoiled and not self._holding):
                return
        await self._take(splitter.end())
        batches.close()  # here, where a refusal says what is queued already
        self.complete = True

    async def _take(self, parts: Iterable[Part]) -> None:
        """Check what a splitter yields, up to a fault behind which nothing is of use."""
        for part in parts:
            if isinstance(part, int):
                self.line += part
                await self._pace.turn()
                continue
            for texts in slices(part, _SLICE_DOCUMENTS):
                await self._pace.begin()
                checked = await self._check(texts)
                self._pace.work.charge(checked.rejected_count)
                self._add(texts, checked)
                await self._pace.turn()
                if self._spoiled and not self._holding:
                    return

    async def _check(self, texts: Sequence[bytes]) -> CheckedSlice:
        if len(texts[0]) > LARGE_BYTES:
            return await in_turns(
                self._checker.check_large(texts[0], self.line + 1), self._pace.turn
            )
        describe = self._most_named - len(self._faulty) if self._skip else MAX_NAMED_FAULTS
        return self._checker.check(texts, self.line + 1, describe)

    def _add(self, texts: Sequence[bytes], checked: CheckedSlice) -> None:
        """Put the good documents of a slice in batches, unless the request is refused anyway."""
        if checked.rejected and not self._skip:
            self._spoil(texts, checked)
            return
        self.line += len(texts)
        left = MAX_KEPT_PLACES - len(self.skipped_behind)
        self.skipped_behind.extend(self._good_count + n for n in checked.rejected_behind[:left])
        self._good_count += len(checked.documents)
        self._faulty_count += checked.rejected_count
        self._faulty += checked.rejected[: self._most_named - len(self._faulty)]
        if not self._spoiled:
            self._batches.add(checked.documents, checked.ids)

    def _spoil(self, texts: Sequence[bytes], checked: CheckedSlice) -> None:
        """Note the faults that refuse the request, or the rest of it.

        Raises:
            Problem: No more of them would be named (queued: no).
        """
        if not self._holding:
            first = checked.rejected[0]
            good = texts[: first.line - self.line - 1]
            before = self._checker.check(good, self.line + 1)
            self._batches.add(before.documents, before.ids)
            self.line = first.line
            self._faulty = [first]
            return
        self._batches.discard()
        self._faulty += checked.rejected
        self.line += len(texts)
        if len(self._faulty) >= MAX_NAMED_FAULTS:
            raise self._invalid()

    async def _cut_short(self, problem: Problem) -> Problem:
        """Return the body's own refusal, with what of it is queued already."""
        if not self._batches.published:
            return problem
        return _partly(problem, await self._batches.settle())

    def _invalid(self) -> Problem:
        faulty = self._faulty[:MAX_NAMED_FAULTS]
        malformed = self._form.splitter.one_value and any(one.fault.malformed for one in faulty)
        return Problem(
            "malformed-json" if malformed else "invalid-document",
            f"line {faulty[0].line}: {faulty[0].fault.detail}",
            queued="no",
            members={"errors": [self._described(one) for one in faulty]},
        )

    def _described(self, faulty: FaultyDocument) -> dict[str, Any]:
        """Return a bad document as JSON."""
        at = self._form.splitter.path(faulty.line) + faulty.fault.at[1:]
        return {"line": faulty.line, "at": at, "detail": faulty.fault.detail}


def _partly(problem: Problem, tally: Tally) -> Problem:
    """Return a refusal of the rest of a body of which a prefix was accepted."""
    if tally.accepted:
        problem.queued = "yes"
    elif tally.unknown:
        problem.queued = "unknown"
    problem.members |= {
        "accepted": tally.accepted,
        "refused": tally.refused,
        "unknown": tally.unknown,
        "batches": tally.batches,
    }
    ids = tally.kept_ids_json  # nothing else says which of the documents those were
    if ids is not None:
        problem.members["ids"] = orjson.Fragment(ids)
    return problem
