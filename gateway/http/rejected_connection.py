"""A connection beyond the bound: 503 `overloaded` when it asks for something, then closed."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from gateway.errors import Problem
from gateway.http.problems import new_request_id, problem_octets

LINGER_S: Final = 2.0
"""Longest life of such a connection; to close at once could destroy the answer on its way."""
_REFUSAL: Final = Problem("overloaded", "too many open connections", queued="no")


class RejectedConnection(asyncio.Protocol):
    """Answers once, reads the rest into nothing.

    Args:
        siblings: All that are alive; at its bound a new one is cut without a word.
        most: That bound.
        on_refused: Called with status, request id and code of the answer.
    """

    def __init__(
        self,
        siblings: "set[RejectedConnection]",
        most: int,
        on_refused: Callable[[int, str, str], None] = lambda *_: None,
    ) -> None:
        self._on_refused = on_refused
        self._siblings = siblings
        self._most = most
        self._transport: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, but not long."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's
        if len(self._siblings) >= self._most:
            transport.abort()
            return
        self._siblings.add(self)
        self._transport = transport
        self._end = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  # whatever it asks for
        """Answer the first octets."""
        transport, self._transport = self._transport, None
        if transport is not None:
            request_id = new_request_id()
            self._on_refused(_REFUSAL.status, request_id, _REFUSAL.code)
            transport.write(problem_octets(_REFUSAL, request_id))
            transport.write_eof()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """Both sides are done."""
        self._siblings.discard(self)
        if self._end is not None:
            self._end.cancel()
