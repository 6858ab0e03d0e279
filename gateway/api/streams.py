"""Streams: WebSocket /v1/stream, Server-Sent Events /v1/tasks/{id}/stream, and their tickets."""

import contextlib
import re
import socket as sockets_api
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.access.known_ids import unknown_task_id
from gateway.access.tickets import MAX_IDS
from gateway.access.work import admit
from gateway.api.operation import JSON_BODY, Content, Operation, answer
from gateway.api.parts import ACCESS, INTAKE, WATCHING
from gateway.api.queries import text
from gateway.api.submit import TASK_ID
from gateway.decoding.typed_json import decode_with
from gateway.errors import Problem
from gateway.http.front_door import open_to_its_page
from gateway.http.media_types import check_json
from gateway.http.problems import REQUEST_ID
from gateway.timestamps import Time, rfc3339
from gateway.watching.event_source import EventSource
from gateway.watching.sockets import PROTOCOL
from gateway.watching.viewers import Viewer

_MAX_TICKET_BYTES = 256 * 1024
_JSON = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
_SSE = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


class TicketRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body of POST /v1/tickets."""

    ids: Annotated[list[str], msgspec.Meta(max_length=MAX_IDS)] | None = None
    """Tasks that it is for; by default all of the tenant."""
    tenants: Literal["all"] | None = None
    """With `admin`: it is for the tasks of every tenant, and for those of other publishers."""


class Ticket(msgspec.Struct):
    """What a browser shows in place of a key, as `?ticket=`."""

    ticket: str
    expires_at: Time


_decode_ticket = msgspec.json.Decoder(TicketRequest).decode


_REFUSALS = ("draining", "invalid-ticket", "forbidden-origin", "overloaded", "state-unavailable")
STREAM = Operation(
    summary="Many tasks on one WebSocket, subprotocol `penstock.v1`.",
    tag="Streams",
    scope="read",
    query=(text("ids", "Ids to subscribe to at once, between commas."),),
    answers={101: answer("The protocol is switched.")},
    refusals=_REFUSALS,
    tickets=True,
)
EVENTS = Operation(
    summary="The states and log lines of one task as Server-Sent Events.",
    tag="Streams",
    scope="read",
    answers={
        200: answer("Events `state` and `log`.", Content(str, media="text/event-stream")),
        204: answer("It ended, and its end was sent before."),
    },
    headers={"Last-Event-ID": "The cursor to resume behind."},
    refusals=(*_REFUSALS, "unknown-task-id", "not-acceptable", "result-expired"),
    tickets=True,
)
TICKET = Operation(
    summary="A ticket for browsers' streams, in place of a key.",
    tag="Streams",
    scope="read",
    body=(Content(TicketRequest, {"ids": [TASK_ID]}),),
    body_required=False,
    answers={
        200: answer(
            "Valid for 10 minutes.",
            Content(Ticket, {"ticket": "eyJ0…", "expires_at": "2026-01-31T12:10:00.000Z"}),
        )
    },
    refusals=(*JSON_BODY, "unknown-task-id"),
)


_ACCEPTED: Final = frozenset({"text/event-stream", "text/*", "*/*"})
_NOT_WANTED: Final = re.compile(r"q\s*=\s*0(\.0*)?")


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/v1/tasks/{id}/stream", events, allow_head=False, operation=EVENTS),
        web.get("/v1/stream", stream, allow_head=False, operation=STREAM),
        web.post("/v1/tickets", ticket, operation=TICKET),
    ]


async def stream(request: web.Request) -> web.StreamResponse:
    """Many tasks on one WebSocket."""
    _check_subprotocol(request)
    viewer = await _viewer(request)
    if request.headers.get("Upgrade", "").strip().lower() != "websocket":
        raise Problem(
            "invalid-request",
            f"this is a WebSocket (subprotocol {PROTOCOL}); /v1/tasks/{{id}}/stream is plain HTTP",
        )
    return await request.app[WATCHING].streams.serve(request, viewer)


def _accepts_events(accept: str) -> bool:
    """Return whether an `Accept` takes an event stream; an empty one takes all, as none does."""
    for one in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        if kind in _ACCEPTED and not any(map(_NOT_WANTED.fullmatch, parameters)):
            return True
    return not accept.strip(" ,")


async def events(request: web.Request) -> web.StreamResponse:
    """One task as Server-Sent Events."""
    viewer = await _viewer(request)
    if not _accepts_events(",".join(request.headers.getall("Accept", ()))):
        raise Problem("not-acceptable", "this is a text/event-stream")
    task_id = request.match_info["id"]
    last = request.headers.get("Last-Event-ID", "")
    streams = request.app[WATCHING].streams
    source = EventSource(viewer, task_id, streams.parts)
    streams.sources.add(source)
    try:
        if not await source.begin(last):
            return web.Response(status=204)
        response = web.StreamResponse(headers=_SSE)
        open_to_its_page(request, response)
        response.force_close()  # or a client that reads to the end waits for the keep-alive's
        response.headers["X-Request-Id"] = request[REQUEST_ID]
        with contextlib.suppress(ConnectionError):  # the client is gone
            await response.prepare(request)
            _expect_acknowledgements(request)
            await source.pump(response)
        return response
    finally:
        streams.sources.discard(source)
        source.close()


async def ticket(request: web.Request) -> web.StreamResponse:
    """Return a ticket for the caller's tasks, for some, or for those of every tenant."""
    caller = require(request, "read")
    asked = await request.app[INTAKE].bodies.read(request, _MAX_TICKET_BYTES)
    if asked:
        check_json(request)
    wanted = decode_with(_decode_ticket, asked) if asked else TicketRequest()
    ids = None if wanted.ids is None else list(dict.fromkeys(wanted.ids))
    if ids is not None:
        known = await request.app[ACCESS].known_ids.of_tasks(caller, ids)
        if len(known) < len(ids):
            raise unknown_task_id()
    every = wanted.tenants == "all"
    if every:
        require(request, "admin")
    tickets = request.app[ACCESS].tickets
    ticket_text, expires_at = tickets.issue(caller, ids, every_tenant=every)
    body = msgspec.json.encode(Ticket(ticket_text, rfc3339(expires_at)))
    return web.Response(body=body, headers=_JSON)


async def _viewer(request: web.Request) -> Viewer:
    """Who opens the stream; by ticket, the key that it was made with pays for it.

    Raises:
        Problem: As `Viewers.of`; `rate-limited`.
    """
    viewer = request.app[WATCHING].viewers.of(request)
    if viewer.ticket is not None and viewer.key.rate is not None:
        await admit(request, request.app[ACCESS].limits, viewer.key)
    return viewer


def _check_subprotocol(request: web.Request) -> None:
    """Let a client through that offers ours, or none.

    Raises:
        Problem: `invalid-request`.
    """
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    if offered and PROTOCOL not in (word.strip() for word in offered.split(",")):
        raise Problem("invalid-request", f"the subprotocol is {PROTOCOL}")


def _expect_acknowledgements(request: web.Request) -> None:
    """Have the kernel give up a client that acknowledges nothing: it never says a word itself."""
    transport = request.transport
    socket = None if transport is None else transport.get_extra_info("socket")
    if socket is not None and hasattr(sockets_api, "TCP_USER_TIMEOUT"):
        millis = 45_000
        socket.setsockopt(sockets_api.IPPROTO_TCP, sockets_api.TCP_USER_TIMEOUT, millis)
