"""The one middleware: request id, caller, errors to statuses, counts. The only place for each."""

import asyncio
import logging
import re
import time

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import istr

from gateway.access import idempotency, work
from gateway.access.auth import CALLER
from gateway.api.parts import FRONT, INTAKE, Front
from gateway.errors import (
    REFUSALS,
    Problem,
    Queued,
    invalid_request,
)
from gateway.http import expectations
from gateway.http.front_door import check_media_type, open_to_its_page
from gateway.http.media_types import JSON, has_body
from gateway.http.problems import REQUEST_ID, new_request_id, problem_response
from gateway.http.traits import ANY_HOST, BODILESS, IDEMPOTENT, OPEN, TICKET
from gateway.telemetry.log import REQUEST_ID as LOGGED_REQUEST_ID
from gateway.telemetry.tracing import TRACE
from penstock.wire.headers import MAX_REQUEST_ID

log = logging.getLogger(__name__)

_REQUEST_ID = istr("X-Request-Id")
_SANE_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:/+=@-]{{1,{MAX_REQUEST_ID}}}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CLIENT_LEFT = 499
_NOTHING = frozenset({b"", b"{}", b"[]", b"null"})
"""What clients send where there is nothing to say; PHP's empty array is `[]`."""
_LITTLE_BYTES = 64 * 1024
_HTTP_CODES = {404: "not-found", 405: "method-not-allowed", 406: "not-acceptable"}


@web.middleware
async def front(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Wrap every request: nothing leaves the gateway that did not pass here."""
    started = time.perf_counter()
    request_id = request.headers.get(_REQUEST_ID)
    if request_id is None or not _SANE_REQUEST_ID.fullmatch(request_id):
        request_id = new_request_id()
    request[REQUEST_ID] = request_id
    LOGGED_REQUEST_ID.set(request_id)
    parts = request.app[FRONT]
    metrics = parts.metrics
    metrics.requests_in_flight += 1
    draining = parts.drain.started
    of_pages = False
    try:
        traits = parts.traits.of(request)
        parts.front_door.check(request, any_host=ANY_HOST in traits)
        of_pages = TICKET in traits
        if draining and request.method not in _SAFE_METHODS:
            raise Problem("draining", "the gateway is shutting down", queued="no")
        await _admit(request, parts, traits)
        if request.match_info.http_exception is None:
            await _check(request, parts, traits)
        response = await handler(request)
    except Problem as problem:
        metrics.refusals[problem.code] += 1
        response = problem_response(problem)
    except web.HTTPException as error:
        response = _foreign_response(error, _queued_of(request))
    except ConnectionResetError:
        # The client is gone while an answer was being streamed: there is none to send.
        _write_left(parts, request, started, request_id)
        raise
    except asyncio.CancelledError:
        _write_left(parts, request, started, request_id)
        raise
    except Exception:
        log.exception(
            "internal-error",
            extra={"method": request.method, "path": request.path},
        )
        queued: Queued | None = None if request.method in _SAFE_METHODS else "unknown"
        response = problem_response(
            Problem("internal-error", f"the gateway's log has it under {request_id}", queued=queued)
        )
    finally:
        metrics.requests_in_flight -= 1
    if not response.prepared:
        _complete(parts, request, response, of_pages=of_pages)
    seconds = time.perf_counter() - started
    metrics.observe_request(request, response.status, seconds)
    _write_answered(parts, request, response, seconds, request_id)
    return response


def _complete(
    parts: Front, request: web.Request, response: web.StreamResponse, *, of_pages: bool
) -> None:
    """Add what every answer carries."""
    response.headers[_REQUEST_ID] = request[REQUEST_ID]
    if of_pages:
        open_to_its_page(request, response)
    if request.method in _SAFE_METHODS:
        # A cache between here and the client may otherwise keep a state for minutes.
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    if parts.drain.announced or expectations.waits(request):
        response.force_close()


async def _admit(request: web.Request, parts: Front, traits: frozenset[str]) -> None:
    """Find whose request it is, whether their rate allows it, and the trace that it is part of.

    Raises:
        Problem: As `Keyring.caller` and `work.admit` (queued: no).
    """
    if OPEN not in traits and not (TICKET in traits and "ticket" in request.query):
        caller = request[CALLER] = parts.keyring.caller(request.headers.get(hdrs.AUTHORIZATION))
        if caller.rate is not None:
            await work.admit(request, parts.limits, caller)
    if parts.spans is not None and OPEN not in traits and TICKET not in traits:
        request[TRACE] = parts.spans.request(request)


async def _check(request: web.Request, parts: Front, traits: frozenset[str]) -> None:
    """Refuse what the route would ignore, or cannot read.

    Raises:
        Problem: `invalid-request`, `unsupported-media-type` (queued: no).
    """
    headers = request.headers
    if request.query_string:
        parts.traits.check_query(request, _queued_of(request))
    if headers.get(hdrs.CONTENT_TYPE) != JSON:
        await check_media_type(request, request.app[INTAKE].bodies)
    if idempotency.HEADER in headers and IDEMPOTENT not in traits:
        raise _not_idempotent(request)
    if BODILESS in traits and request.method not in _SAFE_METHODS and has_body(request):
        await _refuse_members(request)


def _names(request: web.Request) -> tuple[str, str] | None:
    """Name and tenant of the caller, as far as one was found."""
    caller = request.get(CALLER)
    return None if caller is None else (caller.name, caller.tenant)


def _write_answered(
    parts: Front,
    request: web.Request,
    response: web.StreamResponse,
    seconds: float,
    request_id: str,
) -> None:
    """End the trace of a request, and write its line."""
    trace = request.get(TRACE)
    trace_id = None
    if trace is not None and trace.span is not None:
        trace.end(response.status)
        trace_id = trace.trace_id
    if parts.access_log.enabled:
        parts.access_log.write(request, response, seconds, request_id, _names(request), trace_id)


def _write_left(parts: Front, request: web.Request, started: float, request_id: str) -> None:
    """Write the line of a request whose client left before its answer: status 499, as nginx."""
    left = web.Response(status=_CLIENT_LEFT)
    trace = request.get(TRACE)
    if trace is not None and trace.span is not None:
        trace.end(_CLIENT_LEFT)
    parts.access_log.write(
        request, left, time.perf_counter() - started, request_id, _names(request)
    )


def _queued_of(request: web.Request) -> Queued | None:
    """What a refusal before anything is published says of a message."""
    return None if request.method in _SAFE_METHODS else "no"


def _not_idempotent(request: web.Request) -> Problem:
    """A key that would be ignored is refused: the client counts on it."""
    return invalid_request(
        idempotency.HEADER, f"{request.method} {request.path} does not take it", queued="no"
    )


async def _refuse_members(request: web.Request) -> None:
    """Refuse a body where none is taken: what stands in it would be ignored.

    Raises:
        Problem: `invalid-request`, and what reading a body may raise (queued: no).
    """
    body = await request.app[INTAKE].bodies.read(request, _LITTLE_BYTES)
    if b"".join(body.split()) not in _NOTHING:
        raise invalid_request("$", "This path takes nothing in its body", queued="no")


def _foreign_response(error: web.HTTPException, queued: Queued | None) -> web.Response:
    """aiohttp's own answers (router, WebSocket handshake) in the form of ours."""
    if error.status < 400:
        raise error
    code = _HTTP_CODES.get(error.status)
    if code is None:
        code = {413: "body-too-large", 415: "unsupported-media-type"}.get(
            error.status, "invalid-request"
        )
    allow = error.headers.get("Allow")
    detail = f"{error.status} {error.reason}" if code == "invalid-request" else REFUSALS[code][1]
    if code == "not-found":
        detail = "there is no such path; /docs and /openapi.json list them"
    elif allow:
        detail = f"this path takes {allow}"
    response = problem_response(Problem(code, detail, queued=queued))
    if allow:
        response.headers["Allow"] = allow
    return response
