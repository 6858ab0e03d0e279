"""One connection of a client: aiohttp's, which also knows how long a request's head is overdue.

    waiting ──a byte──► head begun ──head complete──► request ──answered──► waiting
       │                    │                        └── broken ──► 400, lingers ──► closed
       └── 75 s (10 s before the first request) ──► closed
                            └── 10 s ──► 400, closed

Lingers: what still comes is read into nothing for a while. Closed with octets unread, the kernel
resets the connection, and the client may lose the answer (RFC 9112, section 9.6).

aiohttp bounds both by its keep-alive alone. Bad HTTP never reaches the middlewares; its answer is
made here, in the form of all others.

Of what aiohttp 3.14 keeps to itself four names are used, for which nothing public stands in:

    _waiter            whether a request is awaited: without it no head is overdue
    _messages          heads, and faults, that were parsed and not handled yet: a fault behind the
                       beginning of a body stays there, while the body's reader waits for ever
    _current_request   whose body the octets are that come in: to end it, and to weigh its chunks
    _force_close       set before the transport is closed: it is left to this class, octets are not
                       parsed any more

`tests/integration/test_slow_clients.py`, `test_bad_http.py` and `test_hostile_bodies.py` fail
without them.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage

from gateway.errors import Problem
from gateway.http.frame_meter import FrameMeter
from gateway.http.problems import new_request_id, problem_octets, problem_response

_SLOW_HEAD: Final = Problem(
    "invalid-request", "the head of the request did not come in time", queued="no"
)
_FREE_FRAMING: Final = 64 * 1024
"""Octets of a body that are not its own, beyond as many as those: sizes and ends of its chunks."""
_FREE_FRAMING_RATE: Final = 1024
"""As many more a second: who sends little now and then costs little."""
_LINGER_S: Final = 2.0
"""How long a connection is read from behind its last answer, where more comes."""
_LINGER_BYTES: Final = 64 * 1024 * 1024
"""How much is read so."""


class Connection(web.RequestHandler):
    """aiohttp's connection, which the listener asks once a second whether it is overdue."""

    __slots__ = (
        "_body_since", "_broken", "_clock", "_drop_at", "_framed", "_head_since", "_held_back",
        "_lingered", "_on_refused", "_siblings", "_silent", "frames",
    )  # fmt: skip

    def join(
        self,
        siblings: "set[Connection]",
        on_refused: Callable[[int, str, str], None] = lambda *_: None,
    ) -> None:
        """Be in that set from connected to lost.

        Args:
            siblings: The set.
            on_refused: Called with status, request id and code of what is answered here.
        """
        self._siblings = siblings
        self._on_refused = on_refused
        self._clock = asyncio.get_running_loop().time
        self._head_since = 0.0
        self._silent = True
        self._broken = False
        self._drop_at = 0.0
        self._lingered = 0
        self._held_back = False
        self._framed = 0
        self._body_since = 0.0
        self.frames: FrameMeter | None = None

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """Read frames from here on, and count those that are not handled yet."""
        self.frames = FrameMeter(parser)
        super().set_parser(self.frames, data_received_cb)  # type: ignore[arg-type]  # as it behaves

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Await the first head from here on."""
        self._siblings.add(self)
        self._head_since = self._clock()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Await nothing any more."""
        self._siblings.discard(self)
        super().connection_lost(exc)
        self.frames = None  # it knows the socket, which knows this connection

    def data_received(self, data: bytes) -> None:
        """Parse it; note since when a head has been incomplete."""
        if self._broken:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self.force_close()
            return
        super().data_received(data)
        self._silent = False
        request = self._current_request
        if self._messages:
            self._head_since = 0.0
            self._framed = 0
            if request is not None:
                self._end_broken_body(request)
        elif self._idle():
            if not self._head_since:
                self._head_since = self._clock()
        elif request is not None:
            self._head_since = 0.0
            if self.frames is None and not request.content.is_eof():
                self._weigh_chunks(request, len(data))

    def pause_reading(self) -> None:
        """Hold back what comes: more of a body is here than its handler takes."""
        self._held_back = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  # aiohttp's
        """Go on with what was held back; aiohttp asks for it twice with every small body.

        Once is enough for good: the parser may stop later than it was told to.
        """
        if self._held_back:
            super().resume_reading(resume_parser)

    def _end_broken_body(self, request: web.BaseRequest) -> None:
        """End a body whose coding broke in the middle; its reader would wait for the rest."""
        message, _ = self._messages[-1]
        if isinstance(message, RawRequestMessage) or request.content.is_eof():
            return
        self._messages.pop()
        request.content.set_exception(web.RequestPayloadError("the coding of the body is broken"))
        request.content.feed_eof()
        self._break_off()

    def _weigh_chunks(self, request: web.BaseRequest, size: int) -> None:
        """End a body that comes in chunks of a few octets: each costs like a line of a document."""
        if not self._framed:
            self._body_since = self._clock()
        self._framed += size
        content = request.content
        free = _FREE_FRAMING + (self._clock() - self._body_since) * _FREE_FRAMING_RATE
        if self._framed > 2 * content.total_bytes + free:
            content.set_exception(web.RequestPayloadError("its chunks are of a few octets each"))
            content.feed_eof()
            self._break_off()

    def _break_off(self) -> None:
        """Answer the request that is here, and no other; read what else comes into nothing."""
        self._broken = True
        self.close()
        self.resume_reading()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer; linger where the request was broken.

        Returns:
            What was answered, and whether the client has left.
        """
        answered, left = await super().finish_response(request, resp, start_time)
        transport = self.transport
        if self._broken and not left and transport is not None and not transport.is_closing():
            self._force_close = True
            self._drop_at = self._clock() + _LINGER_S
            transport.write_eof()
        return answered, left

    def drop_if_overdue(self, begun_before: float) -> bool:
        """Close the connection when the head it waits for began before then.

        Args:
            begun_before: A time of the loop's clock, seconds.
        """
        if self._drop_at:
            if self._clock() >= self._drop_at:
                self.force_close()
            return False
        if not 0 < self._head_since < begun_before or not self._idle():
            return False
        if self._silent or self.transport is None:
            self.force_close()
        else:
            request_id = new_request_id()
            self._on_refused(_SLOW_HEAD.status, request_id, _SLOW_HEAD.code)
            self.transport.write(problem_octets(_SLOW_HEAD, request_id))
            self.transport.write_eof()
            self.close()
            self._drop_at = self._clock()  # not yet: the answer is on its way
        return True

    def _idle(self) -> bool:
        """Return whether the connection waits for a request, or for the rest of its head."""
        waiter = self._waiter
        return waiter is not None and not waiter.done()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bad HTTP; neither the answer nor the log repeats what was sent.

        Raises:
            ConnectionError: The client has left; aiohttp then closes the connection.
        """
        if isinstance(exc, ConnectionError):
            raise exc  # the client left in the middle: no fault of ours, no line in the log
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        detail = "this is not HTTP/1.1 as RFC 9112 defines it"
        if isinstance(exc, LineTooLong):
            detail = f"the request line or a header is longer than {self.max_line_size} bytes"
        elif "Too many headers" in exc.message:
            detail = f"the request has more than {self.max_headers} headers"
        response = problem_response(Problem("invalid-request", detail, queued="no"))
        request_id = response.headers["X-Request-Id"] = new_request_id()
        self._on_refused(response.status, request_id, "invalid-request")
        response.force_close()
        return response
