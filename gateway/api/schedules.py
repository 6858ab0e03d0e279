"""/v1/schedules: periodic tasks."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from aiohttp import web

from gateway.access.auth import Caller, require
from gateway.access.carried import carried
from gateway.api.audited import audited
from gateway.api.fields import Count
from gateway.api.operation import JSON_BODY, RESOLVING, Content, Operation, answer
from gateway.api.operation import SUBMITTING as SUBMITTING_REFUSALS
from gateway.api.parts import ACCESS, INTAKE, SCHEDULING, SUBMITTING, TOPOLOGY
from gateway.api.queries import text
from gateway.api.streamed import streamed
from gateway.api.submit import RECEIPT_EXAMPLE, Receipt, receipt
from gateway.errors import Problem, invalid_request
from gateway.http.media_types import check_json
from gateway.schedules.redbeat_forms import client_schedule
from gateway.schedules.schedule_request import (
    MAX_SCHEDULE_BYTES,
    ScheduleBody,
    parse_schedule,
    task_of,
)
from gateway.schedules.schedules import READ_BYTES, Entry, Schedules
from gateway.submitting.celery_options import client_options
from gateway.submitting.plan import LATER, Terms
from gateway.timestamps import Time, rfc3339
from penstock.wire.schedules import ADMIN

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_SANE_NAME = re.compile(r"[^\x00-\x1f\x7f/:][^\x00-\x1f\x7f/]{0,199}")
"""Of a new one. A first colon is RedBeat's own: `redbeat::lock`. A program's may be any: Celery
calls a periodic task by its arguments, where nobody names it."""
_SOON_READ_BYTES = 4096
"""A longer body is read beside the loop: its arguments are looked at value by value."""
_NO_BEAT = (
    "no scheduler runs the schedules: start one with `celery -A tasks beat`; a beat with Celery's "
    "own scheduler does not read them"
)


class Schedule(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A periodic task; one that another program wrote is shown as far as it has our words."""

    name: str
    tenant: str
    """Whose it is. The shipped ones, and those of programs: `admin`."""
    task: str
    args: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "array", "items": {}})]
    kwargs: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
    options: dict[str, Any]
    enabled: bool
    last_run_at: Time | None
    next_run_at: Time | None
    """When beat publishes it: at once if that has passed. null: never."""
    total_runs: Count
    every: float | None = None
    """Seconds."""
    crontab: dict[str, Any] | None = None
    """As in the request, with every field."""
    solar: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    """Of another kind, as its program wrote it."""
    suspended: str | None = None
    """Why beat does not run it: its key may not submit the task (now)."""
    warning: str | None = None
    """Why it does not run although it is due: no scheduler runs the schedules, or the one that does
    could not publish it."""


class ScheduleList(msgspec.Struct, omit_defaults=True):
    """By tenant and name."""

    schedules: list[Schedule]
    warning: str | None = None
    """No scheduler runs the schedules."""


def shown(entry: Entry, warning: str | None = None) -> Schedule:
    """Return a schedule as clients see it.

    Args:
        entry: What beat reads.
        warning: No scheduler runs it.
    """
    definition = entry.definition
    suspended = (entry.owner.suspended or None) if entry.owner else None
    if warning is None and entry.unpublished and definition.get("enabled", True) and not suspended:
        why = f"beat could not publish it: {entry.unpublished}"
        warning = f"{why}; it is tried again, at the latest a minute later"
    return Schedule(
        name=entry.name,
        tenant=entry.tenant,
        task=entry.task,
        args=definition["args"],
        kwargs=definition["kwargs"],
        options=client_options(definition.get("options") or {}),
        enabled=definition.get("enabled", True),
        last_run_at=_time(entry.last_run_at),
        next_run_at=_time(entry.next_run_at),
        total_runs=entry.total_runs,
        suspended=suspended,
        warning=warning,
        **client_schedule(definition.get("schedule")),
    )


_BODY_EXAMPLE = {
    "task": "demo.add",
    "args": [1, 2],
    "crontab": {"minute": "*/5", "timezone": "Europe/Berlin"},
}
_EXAMPLE = {
    "name": "five-minutely",
    "tenant": "acme",
    "task": "demo.add",
    "args": [1, 2],
    "kwargs": {},
    "options": {},
    "enabled": True,
    "last_run_at": None,
    "next_run_at": "2026-01-31T12:05:00.000Z",
    "total_runs": 0,
    "every": 300.0,
}
_TENANT = text("tenant", "Whose, for `admin`. Default: one's own, then the shipped ones.")
_TENANTS = text("tenant", "Whose, for `admin`. Default: everybody's.")
_UNKNOWN = ("unknown-schedule", "state-unavailable")
SHOW_ALL = Operation(
    summary="One's own schedules; for `admin` everybody's.",
    tag="Schedules",
    scope="schedule",
    query=(_TENANTS,),
    answers={
        200: answer(
            "By tenant and name, with `warning` when no scheduler runs them.",
            Content(ScheduleList, {"schedules": [_EXAMPLE]}),
        )
    },
    refusals=("state-unavailable",),
)
SHOW = Operation(
    summary="One schedule.",
    tag="Schedules",
    scope="schedule",
    query=(_TENANT,),
    answers={200: answer("With its last and next run.", Content(Schedule, _EXAMPLE))},
    refusals=_UNKNOWN,
)
PUT = Operation(
    summary="Make or replace a schedule.",
    tag="Schedules",
    scope="schedule",
    query=(_TENANT,),
    body=(Content(ScheduleBody, _BODY_EXAMPLE),),
    answers={
        200: answer("Replaced.", Content(Schedule, _EXAMPLE)),
        201: answer("Made.", Content(Schedule, _EXAMPLE)),
    },
    refusals=(*JSON_BODY, *RESOLVING, "invalid-arguments", "state-unavailable"),
)
DELETE = Operation(
    summary="Delete a schedule.",
    tag="Schedules",
    scope="schedule",
    query=(_TENANT,),
    answers={204: answer("It is gone.")},
    refusals=_UNKNOWN,
)
RUN = Operation(
    summary="Fire a schedule now.",
    tag="Schedules",
    scope="schedule",
    query=(_TENANT,),
    answers={202: answer("Accepted: a receipt.", Content(Receipt, RECEIPT_EXAMPLE))},
    refusals=(*SUBMITTING_REFUSALS, *_UNKNOWN),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/v1/schedules", show_all, operation=SHOW_ALL),
        web.get("/v1/schedules/{name}", show, operation=SHOW),
        web.put("/v1/schedules/{name}", put, operation=PUT),
        web.delete("/v1/schedules/{name}", delete, operation=DELETE),
        web.post("/v1/schedules/{name}/run", run, operation=RUN),
    ]


async def show_all(request: web.Request) -> web.StreamResponse:
    """One's own schedules by name; for `admin` everybody's, or one tenant's."""
    caller = require(request, "schedule")
    schedules = request.app[SCHEDULING].schedules
    tenant = _asked_tenant(request, caller)
    if tenant is None and not caller.admin:
        tenant = caller.tenant
    pieces = _pieces(schedules, tenant, await _warning(schedules))
    held: list[bytes] = []
    size = 0
    async with aclosing(pieces):
        async for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size > READ_BYTES:
                return await streamed(request, _chained(held, pieces))
    return web.Response(body=b"".join(held), headers=_JSON)


async def _pieces(
    schedules: Schedules, tenant: str | None, warning: str | None
) -> AsyncGenerator[bytes, None]:
    """Make the JSON of a `ScheduleList`.

    Raises:
        Problem: `state-unavailable`.
    """
    separator = b'{"schedules":['
    async with aclosing(schedules.each(tenant)) as entries:
        async for entry in entries:
            yield separator + msgspec.json.encode(shown(entry))
            separator = b","
    end = b"]" if warning is None else b'],"warning":' + msgspec.json.encode(warning)
    yield (b"" if separator == b"," else separator) + end + b"}"


async def _chained(
    first: list[bytes], rest: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    for piece in first:
        yield piece
    first.clear()
    async for piece in rest:
        yield piece


async def show(request: web.Request) -> web.StreamResponse:
    """One schedule."""
    caller = require(request, "schedule")
    schedule = await _find(request, caller)
    return _answer(shown(schedule, await _warning(request.app[SCHEDULING].schedules)))


@audited("schedule.put")
async def put(request: web.Request) -> web.StreamResponse:
    """Make or replace a schedule."""
    caller = require(request, "schedule")
    name = request.match_info["name"]
    schedules = request.app[SCHEDULING].schedules
    if not _SANE_NAME.fullmatch(name) and not await schedules.read(_places(request, caller)):
        raise invalid_request(
            "{name}", "Expected 1 to 200 printable characters, no slash, no first :"
        )
    check_json(request)
    most = min(MAX_SCHEDULE_BYTES, request.app[SUBMITTING].max_task_bytes)
    body = await request.app[INTAKE].bodies.read(request, most)
    if len(body) > _SOON_READ_BYTES:
        wanted = await asyncio.to_thread(parse_schedule, body)
    else:
        wanted = parse_schedule(body)
    await request.app[SUBMITTING].submission.plan(wanted.request, caller, LATER)
    tenant = _asked_tenant(request, caller) or caller.tenant
    for before in (await schedules.read(_places(request, caller)))[:1]:
        _require_task(request, caller, before)
        tenant = before.tenant
    schedule, is_new = await schedules.put(tenant, name, wanted, caller.name)
    return _answer(shown(schedule, await _warning(schedules)), 201 if is_new else 200)


@audited("schedule.delete")
async def delete(request: web.Request) -> web.StreamResponse:
    """Delete a schedule."""
    caller = require(request, "schedule")
    schedule = await _find(request, caller)
    _require_task(request, caller, schedule)
    if not await request.app[SCHEDULING].schedules.delete(schedule):
        raise _unknown(schedule.name)
    return web.Response(status=204)


@audited("schedule.run")
async def run(request: web.Request) -> web.StreamResponse:
    """Publish the task of a schedule now; its times stay as they are."""
    caller = require(request, "schedule")
    try:
        schedule = await _find(request, caller)
    except Problem as problem:
        problem.queued = "no"  # a run is a submit
        raise
    known = schedule.tenant in request.app[ACCESS].keyring.tenants
    message = await request.app[SUBMITTING].submission.submit(
        task_of(schedule.definition),
        caller,
        carried(request),
        Terms(tenant=schedule.tenant if known else None),
    )
    return web.Response(
        status=202,
        body=msgspec.json.encode(receipt(message)),
        headers={**_JSON, "Location": f"/v1/tasks/{message.task_id}"},
    )


def _asked_tenant(request: web.Request, caller: Caller) -> str | None:
    """Whose schedules `?tenant=` asks for; None: it does not.

    Raises:
        Problem: `forbidden` (queued: no): those of others are for `admin`.
    """
    asked = _TENANT.of(request)
    if asked is not None and asked != caller.tenant and not caller.admin:
        raise Problem("forbidden", "other tenants' schedules need the scope 'admin'", queued="no")
    return asked


def _places(request: web.Request, caller: Caller) -> list[tuple[str, str]]:
    """Where a name may be looked up: one's own tenant, and for `admin` the shipped ones."""
    name, asked = request.match_info["name"], _asked_tenant(request, caller)
    if asked is not None:
        return [(asked, name)]
    tenants = [caller.tenant, ADMIN] if caller.admin else [caller.tenant]
    return [(tenant, name) for tenant in tenants]


async def _find(request: web.Request, caller: Caller) -> Entry:
    """The schedule that the request names.

    Raises:
        Problem: `unknown-schedule`, `forbidden`, `state-unavailable`.
    """
    found = await request.app[SCHEDULING].schedules.read(_places(request, caller))
    if not found:
        raise _unknown(request.match_info["name"])
    return found[0]


async def _warning(schedules: Schedules) -> str | None:
    """Return what to say when no scheduler reads the schedules."""
    return None if await schedules.beat_leads() else _NO_BEAT


def _answer(told: Schedule | ScheduleList, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(told), headers=_JSON)


def _time(moment: float | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _unknown(name: str) -> Problem:
    return Problem("unknown-schedule", f"your tenant has no schedule {name!r}")


def _require_task(request: web.Request, caller: Caller, schedule: Entry) -> None:
    """Whoever changes a schedule may submit its task.

    Raises:
        Problem: `forbidden` (queued: no).
    """
    route = request.app[TOPOLOGY].route(schedule.task)
    privileged = route is not None and route.privileged
    if not caller.may_submit(schedule.task, privileged=privileged):
        raise Problem("forbidden", f"the key does not allow task {schedule.task!r}", queued="no")
