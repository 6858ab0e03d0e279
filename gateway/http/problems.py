"""What every answer has: the id of its request, and the form of a refusal."""

import itertools
import secrets

import orjson
from aiohttp import web

from gateway.errors import RETRY_AFTER_S, RETRYABLE_STATUSES, Problem

_process = secrets.token_hex(4)
_numbers = itertools.count(1)
REQUEST_ID = web.RequestKey("request_id", str)


def new_request_id() -> str:
    """Unique among all gateway processes, and cheaper than random bits for each request."""
    return f"{_process}-{next(_numbers):x}"


def problem_response(problem: Problem) -> web.Response:
    """The problem as an answer: RFC 9457, with `Retry-After` where a retry makes sense."""
    status = problem.status
    headers = {"Content-Type": "application/problem+json"}
    if problem.retry_after_s is not None or status in RETRYABLE_STATUSES:
        headers["Retry-After"] = str(problem.retry_after_s or RETRY_AFTER_S)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(status=status, body=orjson.dumps(problem.body()), headers=headers)
