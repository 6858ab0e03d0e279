"""The WebSocket side of streams: one client, its requests, its bounded backlog, its heartbeat.

Frames are written straight to the transport, whose buffer is the client's queue: no writer task, no
second buffer. One sweep over all sockets finds silent ones, in place of timers for each.
"""

import asyncio
import functools
from typing import Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from gateway.errors import Problem
from gateway.http.connection import Connection
from gateway.http.frame_meter import FrameMeter
from gateway.http.problems import REQUEST_ID
from gateway.watching.events import Event, close_frame, error_event, text_frame
from gateway.watching.feed import Feed
from gateway.watching.stream_parts import StreamParts
from gateway.watching.viewers import Viewer

PROTOCOL: Final = "penstock.v1"
_PONG_MESSAGE: Final = text_frame(b'{"type":"pong"}')
_PING_FRAME: Final = b"\x89\x00"
MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""A client's message; a longer one ends the connection (1009) before it is read."""
KEY_GONE: Final = "the key of this stream was removed, or changed in what it may do"
_LINGER_S: Final = 1.0
"""A client that is still sending sees a reset, and not why, when it is cut at once."""
_IDS_AT_ONCE: Final = 500
_PACE_BYTES: Final = 64 * 1024


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """A client's message."""

    op: str
    ids: list[str] | None = None
    tasks: dict[str, str | None] | None = None


_decode = msgspec.json.Decoder(Request).decode


class _Response(web.WebSocketResponse[bool]):
    """Says why before aiohttp closes because of a message over the limit; keeps no cycles."""

    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        """Close, as aiohttp does."""
        if self._writer is None:
            return False  # the client was gone before it was answered
        if code == WSCloseCode.MESSAGE_TOO_BIG and not self.closed:
            error = error_event("body-too-large", f"a message is over {MAX_MESSAGE_BYTES} bytes")
            await self.send_frame(error.message(admin=False), WSMsgType.TEXT)
            await asyncio.sleep(_LINGER_S)
            message = b"message too big"
        try:
            return await super().close(code=code, message=message, drain=drain)
        finally:
            self._exception = None  # its traceback leads back here: a cycle for each client


class Socket:
    """One client of GET /v1/stream.

    Args:
        viewer: Who it is.
        parts: What it works with.
    """

    __slots__ = (
        "_admin", "_backlog_seen", "_counts", "_deadline", "_feed", "_heard_at", "_limits",
        "_parts", "_pinged", "_response", "_transport", "_viewer", "_writer", "closing",
    )  # fmt: skip

    def __init__(self, viewer: Viewer, parts: StreamParts) -> None:
        self._parts = parts
        self._counts = parts.counts
        self._viewer = viewer
        self._admin = viewer.admin
        self._limits = limits = parts.limits
        self._feed: Feed = parts.watch.feed(self)
        self._response = _Response(
            protocols=(PROTOCOL,),
            timeout=limits.close_timeout_s,
            autoping=False,
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES + 1,  # aiohttp refuses what reaches it
            decode_text=False,
        )
        self._transport: asyncio.Transport | None = None
        self._writer: AbstractStreamWriter | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._heard_at = asyncio.get_running_loop().time()
        self._pinged = False
        self._backlog_seen = 0
        self.closing = False
        """Nothing more is sent."""

    @property
    def backlog(self) -> int:
        """Octets that wait for the client to read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def serve(self, request: web.Request) -> web.WebSocketResponse[bool]:
        """Answer the upgrade, subscribe to its `?ids=`, serve the client until it goes.

        Locals live as long as the client: there are few.
        """
        response = self._response
        response.headers["X-Request-Id"] = request[REQUEST_ID]
        turns = self._parts.turns
        try:
            self._writer = await response.prepare(request)
            self._transport = request.transport
            frames = self._frames(request)
            await self._subscribe(dict.fromkeys(_words(request.query.get("ids", ""))))
            while True:
                message = await response.receive()
                self.heard()
                if message.type is WSMsgType.TEXT:
                    await self._handle(message.data)
                elif message.type is WSMsgType.BINARY:
                    self._refuse("invalid-request", "messages are JSON text, not binary")
                elif message.type is WSMsgType.PING:
                    await response.pong(message.data)
                elif message.type is not WSMsgType.PONG:
                    return response
                if frames is not None:
                    frames.handled(len(message.data or b""))
                if self.backlog > _PACE_BYTES and not self.closing:
                    await self.drain()
                await turns.pause(request)
        except ConnectionError:
            return response
        finally:
            self.closing = True
            self._feed.close()
            if self._deadline is not None:
                self._deadline.cancel()

    def _frames(self, request: web.Request) -> FrameMeter | None:
        """What counts the client's frames; None where the server is not our own."""
        protocol = request.protocol
        frames = protocol.frames if isinstance(protocol, Connection) else None
        if frames is not None:
            hold = functools.partial(self._parts.held.hold, self._viewer.caller.tenant)
            frames.watch(hold, self._give_up)
        return frames

    def _give_up(self, problem: Problem) -> None:
        """Take no more from a client that sends more than there is room for."""
        self._refuse(problem.code, problem.detail)
        self.close_soon(WSCloseCode.TRY_AGAIN_LATER, problem.code)
        if self._transport is not None:  # its part of the handshake would not be read
            asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def send(self, event: Event) -> None:
        """Write one event; a client that leaves too much unread is given up."""
        transport = self._transport
        if transport is None or self.closing or transport.is_closing():
            return
        transport.write(event.frame(admin=self._admin))
        if transport.get_write_buffer_size() > self._limits.backlog_bytes:
            self._say(error_event("slow-consumer", "too much is left unread"))
            self.close_soon(WSCloseCode.TRY_AGAIN_LATER, "slow-consumer")

    async def drain(self) -> None:
        """Wait until the client has read most of its backlog."""
        if self._writer is not None:
            await self._writer.drain()

    def heard(self) -> None:
        """The client lives."""
        self._heard_at = asyncio.get_running_loop().time()
        self._pinged = False

    def sweep(self, now: float) -> None:
        """Ping a silent client, cut a dead one. Reading counts as a sign of life, too."""
        transport = self._transport
        if transport is None:
            return
        backlog = transport.get_write_buffer_size()
        if backlog < self._backlog_seen:
            self.heard()
        self._backlog_seen = backlog
        silent_s = now - self._heard_at
        if silent_s > self._limits.dead_after_s:
            self._counts.closed["silent"] += 1
            transport.abort()
        elif silent_s > self._limits.ping_after_s and not self._pinged and not self.closing:
            self._pinged = True
            transport.write(_PING_FRAME)

    @property
    def welcome(self) -> bool:
        """Whether its key is still there, with the rights that it had."""
        return self._viewer.welcome

    def refuse(self) -> None:
        """End it because its key is gone."""
        self._say(error_event("unauthenticated", KEY_GONE))
        self.close_soon(WSCloseCode.POLICY_VIOLATION, "unauthenticated")

    def cut(self) -> None:
        """Cut the connection; `serve` ends."""
        if self._transport is not None:
            self._transport.abort()

    def close_soon(self, code: int, reason: str) -> None:
        """Send nothing more and begin the closing handshake; `serve` sees the client's part of it.

        aiohttp's own `close` would cut what the client has not read yet.
        """
        transport = self._transport
        if self.closing or transport is None:
            return
        self.closing = True
        self._counts.closed[reason] += 1
        self._feed.close()
        transport.write(close_frame(code, reason.encode()))
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._limits.close_timeout_s, transport.abort)

    def _say(self, event: Event) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(event.frame(admin=self._admin))

    def _refuse(self, code: str, detail: str) -> None:
        """Refuse a message, which is a piece of work like a refused line."""
        self._parts.rates.charge(self._viewer.key, 1)
        self._say(error_event(code, detail))

    async def _admitted(self) -> bool:
        """Whether the key's rate has room for a subscription; says so when it has not."""
        try:
            await self._parts.rates.admit(self._viewer.key)
        except Problem as problem:
            detail = f"{problem.detail}; try again in {problem.retry_after_s} s"
            self._say(error_event(problem.code, detail))
            return False
        return True

    async def _handle(self, data: bytes) -> None:
        if self.closing:
            return
        try:
            request = _decode(data)
        except msgspec.ValidationError as error:
            self._refuse("invalid-request", str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse("malformed-json", str(error))
        else:
            await self._do(request)

    async def _do(self, request: Request) -> None:
        match request.op:
            case "ping":
                if self._transport is not None:
                    self._transport.write(_PONG_MESSAGE)
            case "subscribe" if request.ids is not None or request.tasks is not None:
                if await self._admitted():
                    await self._subscribe(dict.fromkeys(request.ids or ()) | (request.tasks or {}))
            case "unsubscribe" if request.ids is not None:
                for start in range(0, len(request.ids), _IDS_AT_ONCE):
                    self._feed.unsubscribe(request.ids[start : start + _IDS_AT_ONCE])
                    await asyncio.sleep(0)
            case "subscribe" | "unsubscribe":
                self._refuse("invalid-request", f"{request.op} needs ids")
            case _:
                ops = "subscribe, unsubscribe and ping"
                self._refuse("invalid-request", f"unknown op {request.op[:100]!r}; there are {ops}")

    async def _subscribe(self, tasks: dict[str, str | None]) -> None:
        """Subscribe all, some hundred in one turn of the loop; or none, when they are too many."""
        new = sum(task_id not in self._feed for task_id in tasks)
        if len(self._feed) + new > self._limits.ids:
            self._refuse("too-many-ids", f"a socket watches at most {self._limits.ids} tasks")
            return
        wants = list(tasks.items())
        for start in range(0, len(wants), _IDS_AT_ONCE):
            watched, said = await self._viewer.sort(wants[start : start + _IDS_AT_ONCE])
            if self.closing:
                return
            self._feed.subscribe(watched)
            for event in said:
                self._say(event)
            if self.backlog > _PACE_BYTES:
                await self.drain()
            await asyncio.sleep(0)


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]
