"""Many tasks at once, by their ids or a filter: published again, or revoked."""

from typing import Annotated, Any, ClassVar, Final

import msgspec
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.api.audited import audited, noted, unchanged
from gateway.api.fields import Count
from gateway.api.long_operations import begun_once
from gateway.api.operation import JSON_BODY, Content, Operation, answer
from gateway.api.parts import HISTORY, INTAKE, OPERATING
from gateway.api.submit import TASK_ID
from gateway.decoding.choices import Schema, given, one_of
from gateway.decoding.typed_json import decode_with
from gateway.errors import Problem, invalid_request
from gateway.history.client import LONG_TIMEOUT_S, HistoryAwayError, QueryRefusedError
from gateway.history.filters import FilterError, restricts, where_of
from gateway.history.rows import Counted
from gateway.http.media_types import check_json
from gateway.operating.history_work import DEFAULT_RATE, HIGHEST_RATE
from penstock.wire import history_queries as wire
from penstock.wire.history_queries import MOST_IDS, MOST_TASKS, RETRY, REVOKE

_JSON = {"Content-Type": "application/json"}
_MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_MOST_SUBJECT_CHARS: Final = 300


class WhereBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """The filters of GET /v1/tasks."""

    state: str | list[str] | None = None
    task: str | None = None
    queue: str | None = None
    worker: str | None = None
    error: str | None = None
    failure: str | None = None
    since: str | float | None = None
    until: str | float | None = None
    root: str | None = None
    q: str | None = None


_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
_Ids = Annotated[list[_Id], msgspec.Meta(min_length=1, max_length=MOST_IDS)]
_Rate = Annotated[float, msgspec.Meta(gt=0, le=HIGHEST_RATE)]
_ONE_OF: Final = one_of(given("ids"), given("where"))


class RetryRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which tasks to publish again: either `ids` or `where`."""

    SCHEMA: ClassVar[Schema] = _ONE_OF

    ids: _Ids | None = None
    where: WhereBody | None = None
    """With at least one filter; without `state` it means FAILURE."""
    rate: _Rate = DEFAULT_RATE
    """Tasks each second."""
    dry_run: bool = False
    """Only count."""


class RevokeRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which tasks to revoke: either `ids` or `where`."""

    SCHEMA: ClassVar[Schema] = _ONE_OF

    ids: _Ids | None = None
    where: WhereBody | None = None
    """With at least one filter; without `state` it means those that have not ended."""
    rate: _Rate = DEFAULT_RATE
    """Tasks each second."""
    dry_run: bool = False
    """Only count."""
    terminate: bool = False
    """Also stop those that run."""


class Begun(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How many tasks are meant."""

    operation: str | None = None
    """Id for GET /v1/operations/{id}; absent of a dry run."""
    matched: Count
    without_request: Count
    """Those of them that cannot be published again, as their arguments were not kept, or with
    secrets masked: they will be counted as `failed`. 0 of a revocation, which needs none."""
    unknown: Count | None = None
    """Ids of which history knows nothing; absent when there are none."""


_EXAMPLE = {
    "operation": "6f1f7f0e-6f0e-4c63-8f0a-2f6f3f0d7a11",
    "matched": 312,
    "without_request": 0,
}
_DRY = {"matched": 312, "without_request": 0}


def _operation(summary: str, kind: type[Any], example: Any) -> Operation:
    return Operation(
        summary=summary,
        tag="History",
        scope="admin",
        body=(Content(kind, example),),
        answers={
            200: answer("A dry run: how many are meant.", Content(Begun, _DRY)),
            202: answer(
                "A gateway begins with it; GET /v1/operations/{id} has how far it is.",
                Content(Begun, _EXAMPLE),
            ),
        },
        refusals=(*JSON_BODY, "history-unavailable", "state-unavailable"),
        idempotent=True,
    )


RETRYING = _operation(
    "Publish tasks again with the arguments kept, under new ids, for their tenants.",
    RetryRequest,
    {"where": {"failure": "5f0c2f5d8a1b3c4d"}, "rate": 50, "dry_run": True},
)
REVOKING = _operation(
    "Revoke tasks; those that have not started never will.",
    RevokeRequest,
    {"ids": [TASK_ID], "dry_run": True},
)
_decode_retry = msgspec.json.Decoder(RetryRequest).decode
_decode_revoke = msgspec.json.Decoder(RevokeRequest).decode


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.post("/v1/tasks/retry", retry, operation=RETRYING),
        web.post("/v1/tasks/revoke", revoke, operation=REVOKING),
    ]


@audited("tasks.retry")
async def retry(request: web.Request) -> web.Response:
    """Publish tasks again, some each second."""
    return await _begin(request, RETRY, _decode_retry)


@audited("tasks.revoke")
async def revoke(request: web.Request) -> web.Response:
    """Revoke tasks, some each second."""
    return await _begin(request, REVOKE, _decode_revoke)


async def _begin(request: web.Request, kind: str, decode: Any) -> web.Response:
    caller = require(request, "admin")
    check_json(request)
    key = idempotency.key_of(request)
    body = await request.app[INTAKE].bodies.read(request, _MAX_BODY_BYTES)
    asked: RetryRequest | RevokeRequest = decode_with(decode, body)
    selection = _selection(asked, kind)
    noted(request, _subject(selection))
    question: dict[str, Any] = {"kind": kind, "selection": selection}
    counted = await _ask(request, wire.COUNT, question)
    if counted.matched > MOST_TASKS:
        raise invalid_request(
            "$.where",
            f"Matches {counted.matched} tasks, over {MOST_TASKS} of one operation; narrow it",
        )
    if asked.dry_run:
        unchanged(request)
        return web.Response(body=msgspec.json.encode(_begun(counted, kind)), headers=_JSON)

    async def begin(operation: str) -> bytes:
        return await _written_down(request, question | _terms(asked, caller, operation))

    return await begun_once(request, caller, key, body, begin)


async def _written_down(request: web.Request, terms: dict[str, Any]) -> bytes:
    """Write an operation down, its tasks first; return the answer.

    Raises:
        Problem: `history-unavailable`, `state-unavailable`.
    """
    operation, kind, subject = terms["id"], terms["kind"], _subject(terms["selection"])
    counted = await _ask(request, wire.BEGIN, terms)
    noted(request, subject, counted.matched)
    try:
        await request.app[OPERATING].operations.begin(
            kind, subject, terms["tenant"], counted.matched, operation
        )
    except Problem as problem:  # Redis may have it all the same: a second one would do all again
        problem.detail += (
            f"; operation {operation} may have begun: look at GET /v1/operations/{operation} "
            "before this is sent again"
        )
        problem.members["operation"] = operation
        raise
    return msgspec.json.encode(_begun(counted, kind, operation))


def _selection(asked: RetryRequest | RevokeRequest, kind: str) -> dict[str, Any]:
    """Return which tasks are meant.

    Raises:
        Problem: `invalid-request`.
    """
    if (asked.ids is None) == (asked.where is None):
        raise invalid_request("$", "Expected either ids or where", queued="no")
    if asked.where is None:
        return {"ids": asked.ids}
    filters = msgspec.to_builtins(asked.where)
    if not restricts(filters):
        raise invalid_request("$.where", "Expected at least one filter", queued="no")
    try:
        where = where_of(filters, None).to_json()
    except FilterError as error:
        raise invalid_request(
            f"$.where.{error.name}", f"Expected {error.expected}", queued="no"
        ) from error
    if "states" not in where:
        where |= {"states": ("FAILURE",)} if kind == RETRY else {"unended": True}
    return {"where": where}


def _terms(asked: RetryRequest | RevokeRequest, caller: Caller, operation: str) -> dict[str, Any]:
    return {
        "id": operation,
        "rate": asked.rate,
        "who": caller.name,
        "tenant": caller.tenant,
        "terminate": isinstance(asked, RevokeRequest) and asked.terminate,
    }


def _subject(selection: dict[str, Any]) -> str:
    """Return in short which tasks are meant, for people."""
    if "ids" in selection:
        ids = selection["ids"]
        return ids[0] if len(ids) == 1 else f"{len(ids)} ids"
    words = [
        f"{name}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in selection["where"].items()
    ]
    return " ".join(words)[:_MOST_SUBJECT_CHARS]


def _begun(counted: Counted, kind: str, operation: str | None = None) -> Begun:
    return Begun(
        operation=operation,
        matched=counted.matched,
        without_request=counted.without_request if kind == RETRY else 0,
        unknown=counted.unknown or None,
    )


async def _ask(request: web.Request, path: str, body: dict[str, Any]) -> Counted:
    """Ask history.

    Raises:
        Problem: `history-unavailable`.
    """
    try:
        return await request.app[HISTORY].ask(path, body, Counted, within_s=LONG_TIMEOUT_S)
    except QueryRefusedError as error:
        raise HistoryAwayError(str(error)) from error
