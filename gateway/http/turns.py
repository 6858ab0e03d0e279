"""Turns at the event loop: what computes for long does so in slices, tenant after tenant.

    slice ──3 ms are over──► waits behind other requests ──its turn──► slice
                                                             └── the client has left ──► ends

The 3 ms are those of one turn of the loop, for all requests together: a hundred that compute at the
same time have one slice between two polls of the sockets, not a hundred. Tenants take turns, and
within one its requests: a client that sends a hundred bodies of refused lines waits for itself.
"""

import asyncio
import functools
import select
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from aiohttp import web

from gateway.sharing.tenant import TENANT

SLICE_S: Final = 0.003
"""How long requests compute in one turn of the loop; seconds. A piece of work between two looks at
the clock adds to it, so pieces are kept to a few milliseconds."""
_GONE: Final = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL


class Turns:
    """Shares the loop among the requests that compute; one for each process."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Turns, {sum(map(len, self._waiting.values()))} waiting>"

    def over(self) -> bool:
        """Return whether requests have computed long enough in this turn of the loop."""
        now = time.perf_counter()
        if self._began is None:
            self._begin(now)
        return now - (self._began or now) > SLICE_S

    async def pause(self, request: web.BaseRequest | None = None) -> None:
        """Go on at once, or in a later turn of the loop when this one's slice is over.

        Args:
            request: Whose client must still be there; None: no client waits for the work.

        Raises:
            ConnectionResetError: The client has left (queued: what was published before).
        """
        if not self.over():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(TENANT.get(), deque()).append(turn)
        await turn
        if request is not None and has_left(request):
            raise ConnectionResetError("the client has left")

    def of(self, request: web.BaseRequest) -> Callable[[], Coroutine[Any, Any, None]]:
        """`pause` of one request."""
        return functools.partial(self.pause, request)

    def _begin(self, now: float) -> None:
        self._began = now
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        """Let the next that waits go on: the sockets have been polled."""
        self._began = None
        while self._waiting:
            tenant, requests = next(iter(self._waiting.items()))
            turn = requests.popleft()
            if requests:
                self._waiting.move_to_end(tenant)
            else:
                del self._waiting[tenant]
            if not turn.done():  # cancelled while it waited
                turn.set_result(None)
                self._begin(time.perf_counter())
                return


def has_left(request: web.BaseRequest) -> bool:
    """Return whether the client has closed its connection, if behind octets not read yet.

    A client that sends faster than its body is worked on is not read from meanwhile, so the loop
    would not notice; the kernel does (`POLLRDHUP`, poll(2)).
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return True
    socket = transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return socket is not None
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLRDHUP)
    return any(events & _GONE for _, events in poll.poll(0))
