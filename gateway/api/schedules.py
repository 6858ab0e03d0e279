"""/v1/schedules: periodic tasks."""

import re
from typing import Any

import orjson
from aiohttp import web

from gateway.access.auth import Caller, require
from gateway.api.parts import ACCESS, INTAKE, SCHEDULING, SUBMITTING, TOPOLOGY
from gateway.api.submit import receipt
from gateway.errors import Problem, invalid_request
from gateway.http.media_types import check_json
from gateway.http.trace_context import traceparent
from gateway.schedules.schedule_request import parse_schedule, task_of
from gateway.schedules.schedules import Schedule, Schedules
from gateway.submitting.plan import LATER, Terms
from penstock.wire.schedules import ADMIN

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_SANE_NAME = re.compile(r"[^\x00-\x1f\x7f/:][^\x00-\x1f\x7f/]{0,199}")
"""A first colon is RedBeat's own: `redbeat::lock`."""
_NO_BEAT = "no scheduler runs the schedules: start one with `celery -A tasks beat`"


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [
        web.get("/v1/schedules", show_all),
        web.get("/v1/schedules/{name}", show),
        web.put("/v1/schedules/{name}", put),
        web.delete("/v1/schedules/{name}", delete),
        web.post("/v1/schedules/{name}/run", run),
    ]


async def show_all(request: web.Request) -> web.StreamResponse:
    """One's own schedules by name; for `admin` everybody's, or one tenant's."""
    caller = require(request, "schedule")
    schedules = request.app[SCHEDULING].schedules
    tenant = _asked_tenant(request, caller)
    if tenant is None and not caller.admin:
        tenant = caller.tenant
    found = [schedule.to_json() for schedule in await schedules.all(tenant)]
    return _answer({"schedules": found, **await _warning(schedules)})


async def show(request: web.Request) -> web.StreamResponse:
    """One schedule."""
    caller = require(request, "schedule")
    schedule = await _find(request, caller)
    return _answer({**schedule.to_json(), **await _warning(request.app[SCHEDULING].schedules)})


async def put(request: web.Request) -> web.StreamResponse:
    """Make or replace a schedule."""
    caller = require(request, "schedule")
    name = request.match_info["name"]
    if not _SANE_NAME.fullmatch(name):
        raise invalid_request("{name}", "Expected 1 to 200 printable characters, no colon first")
    check_json(request)
    body = await request.app[INTAKE].bodies.read(request, request.app[SUBMITTING].max_task_bytes)
    wanted = parse_schedule(body)
    await request.app[SUBMITTING].submission.plan(wanted.request, caller, LATER)
    schedules = request.app[SCHEDULING].schedules
    tenant = _asked_tenant(request, caller) or caller.tenant
    for before in (await schedules.read(_places(request, caller)))[:1]:
        _require_task(request, caller, before)
        tenant = before.tenant
    schedule, is_new = await schedules.put(tenant, name, wanted, caller.name)
    told = {**schedule.to_json(), **await _warning(schedules)}
    return _answer(told, 201 if is_new else 200)


async def delete(request: web.Request) -> web.StreamResponse:
    """Delete a schedule."""
    caller = require(request, "schedule")
    schedule = await _find(request, caller)
    _require_task(request, caller, schedule)
    if not await request.app[SCHEDULING].schedules.delete(schedule):
        raise _unknown(schedule.name)
    return web.Response(status=204)


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
        traceparent(request),
        Terms(tenant=schedule.tenant if known else None),
    )
    return web.Response(
        status=202,
        body=orjson.dumps(receipt(message)),
        headers={**_JSON, "Location": f"/v1/tasks/{message.task_id}"},
    )


def _asked_tenant(request: web.Request, caller: Caller) -> str | None:
    """Whose schedules `?tenant=` asks for; None: it does not.

    Raises:
        Problem: `forbidden` (queued: no): those of others are for `admin`.
    """
    asked = request.query.get("tenant")
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


async def _find(request: web.Request, caller: Caller) -> Schedule:
    """The schedule that the request names.

    Raises:
        Problem: `unknown-schedule`, `forbidden`, `state-unavailable`.
    """
    found = await request.app[SCHEDULING].schedules.read(_places(request, caller))
    if not found:
        raise _unknown(request.match_info["name"])
    return found[0]


async def _warning(schedules: Schedules) -> dict[str, str]:
    """What to say when no scheduler reads the schedules."""
    return {} if await schedules.beat_leads() else {"warning": _NO_BEAT}


def _answer(told: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(told), headers=_JSON)


def _unknown(name: str) -> Problem:
    return Problem("unknown-schedule", f"your tenant has no schedule {name!r}")


def _require_task(request: web.Request, caller: Caller, schedule: Schedule) -> None:
    """Whoever changes a schedule may submit its task.

    Raises:
        Problem: `forbidden` (queued: no).
    """
    route = request.app[TOPOLOGY].route(schedule.task)
    privileged = route is not None and route.privileged
    if not caller.may_submit(schedule.task, privileged=privileged):
        raise Problem("forbidden", f"the key does not allow task {schedule.task!r}", queued="no")
