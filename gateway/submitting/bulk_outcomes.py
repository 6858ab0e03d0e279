"""What became of the lines of a bulk request, in their order, and how many of each kind."""

from collections.abc import Callable
from typing import Any, Final, Literal

import orjson

from gateway.errors import Problem

Listing = Literal["errors", "all", "none"]
"""Which outcomes the answer lists."""
_MOST_WRITTEN: Final = 256
_MEMBERS: Final = ("queued", "id", "errors", "near", "quota")


class BulkOutcomes:
    """Writes and counts outcomes.

    Args:
        listing: Which outcomes the answer lists.
        write: Takes the JSON of each, in order.
    """

    def __init__(self, listing: Listing, write: Callable[[bytes], None]) -> None:
        self._listing = listing
        self._write = write
        self._refusals: dict[tuple[str, str], bytes] = {}
        self.every = listing == "all"
        """Whether accepted lines are listed, too."""
        self.accepted = 0
        self.rejected = 0
        self.unknown = 0
        """Those of `rejected` that may be queued all the same."""

    def add_accepted(self, line: int, task_id: str) -> None:
        """Take the outcome of a line whose message is confirmed."""
        self.accepted += 1
        if self.every:
            self._write(b'{"line":%d,"status":202,"id":"%b"}' % (line, task_id.encode()))

    def add_refused(self, line: int, problem: Problem) -> None:
        """Take the outcome of a line that was refused, or is unknown."""
        self.rejected += 1
        self.unknown += problem.queued == "unknown"
        if self._listing != "none":
            self._write(b'{"line":%d,%b' % (line, self._refusal(problem)))

    def summary(self) -> dict[str, Any]:
        """Return the counts, which are written last."""
        counts = {"accepted": self.accepted, "rejected": self.rejected}
        if self.unknown:
            counts["unknown"] = self.unknown
        return counts

    def _refusal(self, problem: Problem) -> bytes:
        """Return what follows the line's number; most refusals differ by nothing else."""
        code, detail = problem.code, problem.detail
        rest = self._refusals.get((code, detail))
        if rest is None:
            rest = _rest(problem)
            if _is_in_detail(problem):
                if len(self._refusals) >= _MOST_WRITTEN:
                    self._refusals.clear()
                self._refusals[code, detail] = rest
        return rest


def _is_in_detail(problem: Problem) -> bool:
    """Return whether refusals with this detail are alike in all else."""
    one = len(problem.faults) < 2 and problem.code != "invalid-arguments"
    return one and problem.queued == "no"


def _rest(problem: Problem) -> bytes:
    particulars = problem.particulars()
    members = {"status": problem.status, "code": problem.code, "detail": problem.detail}
    members |= {name: particulars[name] for name in _MEMBERS if name in particulars}
    return orjson.dumps(members)[1:]
