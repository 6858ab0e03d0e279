"""A problem as the octets of a whole HTTP answer, for where no request was read. Pure."""

from http import HTTPStatus

import orjson

from gateway.errors import RETRY_AFTER_S, RETRYABLE_STATUSES, Problem


def raw_answer(problem: Problem) -> bytes:
    """The answer; the connection ends behind it."""
    body = orjson.dumps(problem.body())
    status = problem.status
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if status in RETRYABLE_STATUSES:
        lines.append(f"Retry-After: {problem.retry_after_s or RETRY_AFTER_S}")
    return "\r\n".join([*lines, "", ""]).encode() + body
