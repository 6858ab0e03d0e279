"""What every answer has: the id of its request, and the form of a refusal."""

import itertools
import secrets
from http import HTTPStatus

import orjson
from aiohttp import web

from gateway.errors import RETRY_AFTER_S, RETRYABLE_STATUSES, Problem

_process = secrets.token_hex(4)
_numbers = itertools.count(1)
REQUEST_ID = web.RequestKey("request_id", str)


def new_request_id() -> str:
    """Return one that is unique among all gateway processes; cheaper than random bits each time."""
    return f"{_process}-{next(_numbers):x}"


def problem_response(problem: Problem) -> web.Response:
    """Return the problem as an answer: RFC 9457, with `Retry-After` where a retry makes sense."""
    return web.Response(
        status=problem.status, body=orjson.dumps(problem.body()), headers=_headers(problem)
    )


def problem_octets(problem: Problem, request_id: str) -> bytes:
    """Return the octets of a whole answer, behind which the connection ends.

    For where no request was read, so that aiohttp answers nothing.
    """
    body, status = orjson.dumps(problem.body()), HTTPStatus(problem.status)
    headers = _headers(problem) | {
        "Content-Length": str(len(body)),
        "Connection": "close",
        "X-Request-Id": request_id,
    }
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def retry_headers(problem: Problem) -> dict[str, str]:
    """Return `Retry-After` where a retry makes sense: for answers that tell of a problem, too."""
    if problem.retry_after_s is None and problem.status not in RETRYABLE_STATUSES:
        return {}
    return {"Retry-After": str(problem.retry_after_s or RETRY_AFTER_S)}


def _headers(problem: Problem) -> dict[str, str]:
    headers = {"Content-Type": "application/problem+json", **retry_headers(problem)}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers
