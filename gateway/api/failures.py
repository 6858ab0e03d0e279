"""GET /v1/failures: which failures there are, and how many of each."""

from typing import Annotated

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.api.fields import Count
from gateway.api.history import TASK_NAME, tenant_of
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import HISTORY
from gateway.api.queries import text, whole_number
from gateway.api.submit import TASK_ID
from gateway.errors import invalid_request
from gateway.history.filters import FilterError, where_of
from gateway.history.rows import Group, Groups
from gateway.timestamps import Time, rfc3339
from penstock.wire import history_queries as wire

_JSON = {"Content-Type": "application/json; charset=utf-8"}
MOST_GROUPS = 500
"""Of one answer."""


class FailureError(msgspec.Struct):
    """The error of the failure that was counted last."""

    type: str
    message: str


class Failure(msgspec.Struct, kw_only=True):
    """Failures of one task with one error, message and place in the code."""

    failure: str
    """Id of the group, for `?failure=` of GET /v1/tasks."""
    task: str | None
    error: FailureError
    count: Count
    first_at: Time
    last_at: Time
    per_hour: Annotated[list[Count], msgspec.Meta(min_length=24, max_length=24)]
    """In each of the 24 hours up to `until` (now), by the clock; the last one last."""
    example: str
    """Id of one of these tasks."""


class FailureList(msgspec.Struct, omit_defaults=True):
    """Groups, those with the most failures first."""

    failures: list[Failure]
    total: Count = 0
    """Failures in all groups; absent when there are none."""
    not_shown: Count = 0
    """Groups beyond `limit`; absent when there are none."""


FAILED_SINCE = text("since", "Failed at that time or later; 24 hours ago, on the hour.")
FAILED_UNTIL = text("until", "Failed before that time; now.")
LIMIT = whole_number("limit", "Groups that are wanted.", MOST_GROUPS, MOST_GROUPS)
FAILURES = Operation(
    summary="Failures in groups: by task, type of the error, message without its numbers and "
    "quoted parts, and place in the code.",
    tag="History",
    scope="read",
    query=(FAILED_SINCE, FAILED_UNTIL, TASK_NAME, LIMIT),
    answers={
        200: answer(
            "Each group.",
            Content(
                FailureList,
                {
                    "failures": [
                        {
                            "failure": "5f0c2f5d8a1b3c4d",
                            "task": "reports.build",
                            "error": {"type": "ValueError", "message": "no data for 'Oslo'"},
                            "count": 312,
                            "first_at": "2026-01-31T03:00:05.020Z",
                            "last_at": "2026-01-31T03:04:11.730Z",
                            "per_hour": [0] * 23 + [312],
                            "example": TASK_ID,
                        }
                    ],
                    "total": 312,
                },
            ),
        )
    },
    refusals=("invalid-request", "history-unavailable"),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [web.get("/v1/failures", failures, operation=FAILURES)]


async def failures(request: web.Request) -> web.Response:
    """Groups of failures, those with the most first."""
    caller = require(request, "read")
    given = {name.name: name.of(request) for name in (FAILED_SINCE, FAILED_UNTIL, TASK_NAME)}
    try:
        where = where_of(given, tenant_of(caller))
    except FilterError as error:
        raise invalid_request(f"?{error.name}", f"Expected {error.expected}") from error
    body = {
        "tenant": where.tenant,
        "since_ms": where.since_ms,
        "until_ms": where.until_ms,
        "task": where.task,
        "limit": LIMIT.of(request),
    }
    found = await request.app[HISTORY].ask(wire.FAILURES, body, Groups)
    rows = FailureList([_failure(group) for group in found.failures], found.total, found.not_shown)
    return web.Response(body=msgspec.json.encode(rows), headers=_JSON)


def _failure(group: Group) -> Failure:
    error = group.error
    return Failure(
        failure=group.failure,
        task=group.task,
        error=FailureError("", "") if error is None else FailureError(error.type, error.message),
        count=group.count,
        first_at=rfc3339(group.first_at_ms / 1000),
        last_at=rfc3339(group.last_at_ms / 1000),
        per_hour=group.per_hour,
        example=group.example,
    )
