"""A body, or outcomes for an answer, counted while they are held in memory."""

from collections import deque
from collections.abc import Iterator

from gateway.errors import Problem
from gateway.http.body import CHUNK_BYTES
from gateway.sharing.held_bytes import HeldBytes


class HeldBody:
    """A body, or outcomes for an answer, counted while they are held.

    Args:
        budget: Counts.
        tenant: Whose it is.
    """

    def __init__(self, budget: HeldBytes, tenant: str) -> None:
        self._budget = budget
        self._tenant = tenant
        self._blocks: deque[bytes] = deque()
        self._open = bytearray()
        self._counted = 0
        self.size = 0
        """Octets held."""
        self.problem: Problem | None = None
        """Why there was no room for an outcome."""

    def add(self, chunk: bytes) -> None:
        """Hold one more chunk, which may be a single octet: they are put together.

        Raises:
            Problem: `overloaded` (queued: no).
        """
        self._budget.hold(self._tenant, len(chunk))
        self._counted += len(chunk)
        self.size += len(chunk)
        self._open += chunk
        if len(self._open) >= CHUNK_BYTES:
            self._blocks.append(bytes(self._open))
            self._open.clear()

    def tell(self, outcome: bytes) -> None:
        """Hold one more outcome, whether or not there is room: its task is settled."""
        self._open += b","
        self._open += outcome
        if len(self._open) >= CHUNK_BYTES:
            block = bytes(self._open)
            self._open.clear()
            self._blocks.append(block)
            try:
                self._budget.hold(self._tenant, len(block))
                self._counted += len(block)
            except Problem as problem:
                self.problem = problem
        self.size += len(outcome) + 1

    def take(self) -> Iterator[bytes]:
        """Yield the body, block by block, each let go when the next is asked for."""
        self._blocks.append(bytes(self._open))
        self._open.clear()
        while self._blocks:
            block = self._blocks.popleft()
            yield block
            self._let_go(len(block))

    def close(self) -> None:
        """Hold nothing any more."""
        self._blocks.clear()
        self._let_go(self._counted)

    def _let_go(self, size: int) -> None:
        size = min(size, self._counted)
        self._budget.hold(self._tenant, -size)
        self._counted -= size
