"""/v1/schedules: periodic tasks."""

import re

import msgspec
import orjson
from aiohttp import web

from gateway.access.auth import Caller, require
from gateway.body import read_body
from gateway.errors import Problem, invalid_request
from gateway.handlers.submit import check_json, receipt, traceparent
from gateway.parts import CONFIG, SCHEDULES, SUBMISSION, TOPOLOGY
from gateway.publishing.task_request import Options, TaskRequest, check_form
from gateway.schedules.schedule_request import client_options, parse_schedule
from gateway.schedules.schedules import Schedule

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_SANE_NAME = re.compile(r"[^\x00-\x1f\x7f/:][^\x00-\x1f\x7f/]{0,199}")
"""A first colon is RedBeat's own: `redbeat::lock`."""


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
    """Every schedule, by name."""
    require(request, "schedule")
    schedules = request.app[SCHEDULES]
    found = await schedules.read(await schedules.names())
    told = {"schedules": [schedule.to_json() for schedule in found]}
    return web.Response(body=orjson.dumps(told), headers=_JSON)


async def show(request: web.Request) -> web.StreamResponse:
    """One schedule."""
    require(request, "schedule")
    schedule = await request.app[SCHEDULES].get(request.match_info["name"])
    return web.Response(body=orjson.dumps(schedule.to_json()), headers=_JSON)


async def put(request: web.Request) -> web.StreamResponse:
    """Make or replace a schedule."""
    caller = require(request, "schedule")
    name = request.match_info["name"]
    if not _SANE_NAME.fullmatch(name):
        raise invalid_request("{name}", "Expected 1 to 200 printable characters, no colon first")
    check_json(request)
    body = await read_body(request, request.app[CONFIG].max_task_bytes)
    wanted = parse_schedule(body)
    submission = request.app[SUBMISSION]
    await submission.surely(lambda: submission.check(wanted.request, caller, now=False))
    schedules = request.app[SCHEDULES]
    for before in await schedules.read([name]):
        _require_task(request, caller, before)
    schedule, is_new = await schedules.put(name, wanted)
    return web.Response(
        status=201 if is_new else 200, body=orjson.dumps(schedule.to_json()), headers=_JSON
    )


async def delete(request: web.Request) -> web.StreamResponse:
    """Delete a schedule."""
    caller = require(request, "schedule")
    name = request.match_info["name"]
    schedules = request.app[SCHEDULES]
    _require_task(request, caller, await schedules.get(name))
    await schedules.delete(name)
    return web.Response(status=204)


async def run(request: web.Request) -> web.StreamResponse:
    """Publish the task of a schedule now; its times stay as they are."""
    caller = require(request, "schedule")
    try:
        schedule = await request.app[SCHEDULES].get(request.match_info["name"])
    except Problem as problem:
        problem.queued = "no"  # a run is a submit
        raise
    submission = request.app[SUBMISSION]
    task, context = _task(schedule), traceparent(request)
    prepared = await submission.surely(lambda: submission.prepare_request(task, caller, context))
    await submission.publish(prepared)
    return web.Response(
        status=202,
        body=orjson.dumps(receipt(prepared)),
        headers={**_JSON, "Location": f"/v1/tasks/{prepared.task_id}"},
    )


def _task(schedule: Schedule) -> TaskRequest:
    """The submit that a run of a schedule is.

    Raises:
        Problem: `invalid-request` (queued: no): somebody else wrote it, in words that we lack.
    """
    definition = schedule.definition
    options = client_options(definition.get("options") or {})
    known = {name: value for name, value in options.items() if name in Options.__struct_fields__}
    try:
        request = TaskRequest(
            schedule.task,
            msgspec.Raw(orjson.dumps(definition.get("args") or [])),
            msgspec.Raw(orjson.dumps(definition.get("kwargs") or {})),
            msgspec.convert(known, Options),
        )
    except msgspec.ValidationError as error:
        raise invalid_request("$.options", str(error), queued="no") from None
    check_form(request)
    return request


def _require_task(request: web.Request, caller: Caller, schedule: Schedule) -> None:
    """Whoever changes a schedule may submit its task.

    Raises:
        Problem: `forbidden` (queued: no).
    """
    route = request.app[TOPOLOGY].route(schedule.task)
    privileged = route is not None and route.privileged
    if not caller.may_submit(schedule.task, privileged=privileged):
        raise Problem("forbidden", f"the key does not allow task {schedule.task!r}", queued="no")
