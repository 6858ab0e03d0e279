"""/v1/workers: which workers there are, what runs on them, and commands to them."""

import time
from typing import Annotated, Any

import msgspec
from aiohttp import web

from gateway.access.auth import Caller, require
from gateway.api.audited import audited, noted
from gateway.api.fields import Count
from gateway.api.operation import JSON_BODY, Content, Operation, answer
from gateway.api.parts import ACCESS, INTAKE, OPERATING, STATES, TOPOLOGY
from gateway.api.submit import STATE_EXAMPLE
from gateway.decoding.typed_json import decode_with
from gateway.errors import Problem
from gateway.http.media_types import check_json
from gateway.operating import fleet
from gateway.operating.workers import Reply
from gateway.states.state import State, TaskState
from gateway.timestamps import Time, rfc3339
from penstock.wire.announcements import RunningTask

_JSON = {"Content-Type": "application/json"}
_MAX_BODY_BYTES = 64 * 1024
MOST_GROWN = 1000
"""Slots that one request adds or takes away at most."""


class Worker(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One worker; what is not known of it is absent."""

    name: str
    """Its node name."""
    status: fleet.Status
    """`silent` after 15 s without a word; `gone` once it took leave, or after 10 minutes."""
    last_heard_at: Time
    pool: str | None = None
    """`asyncio`, `prefork`, `threads`, `solo`, or another's module."""
    concurrency: Count | None = None
    """Tasks that it executes at a time."""
    running: Count | None = None
    """Tasks that it executes."""
    queues: tuple[str, ...] | None = None
    """Work queues that it consumes, or consumed last."""
    processed: Count | None = None
    """Tasks that it has begun since it started."""
    software: str | None = None
    """Names and versions of what it is made of."""


class WorkerList(msgspec.Struct):
    """Every worker, by name."""

    workers: list[Worker]


class RunningState(TaskState, kw_only=True, omit_defaults=True):
    """The state of a task that runs, and for how long it has."""

    queue: str | None = None
    """Where its message came from."""
    runtime_s: float


class RunningTasks(msgspec.Struct):
    """What a worker runs; those first that began first."""

    tasks: list[RunningState]


class QueueCommand(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which queue."""

    queue: str


class PoolCommand(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How many slots more; fewer when negative."""

    grow: Annotated[int, msgspec.Meta(ge=-MOST_GROWN, le=MOST_GROWN)]


class Commanded(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a worker said to a command."""

    worker: str
    replied: bool
    """False: it did not answer within 2 s; it may carry the command out yet."""
    reply: str | None = None
    """Its words."""


_EXAMPLE = {
    "name": "celery@w1",
    "status": "online",
    "last_heard_at": "2026-01-31T12:00:00.000Z",
    "pool": "asyncio",
    "concurrency": 200,
    "running": 3,
    "queues": ["coroutines"],
    "processed": 48213,
    "software": "penstock 1.0.0, celery 5.7.0, python 3.11.2",
}
_REPLIED = {"worker": "celery@w1", "replied": True, "reply": "add consumer default"}
_SILENT = {"worker": "celery@w1", "replied": False}
LIST = Operation(
    summary="The workers: ours as they announce themselves, others as Celery's events show them.",
    tag="Workers",
    scope="read",
    answers={200: answer("Each worker.", Content(WorkerList, {"workers": [_EXAMPLE]}))},
    refusals=("state-unavailable",),
)
TASKS = Operation(
    summary="What runs on a worker: your tenant's tasks, with `admin` all.",
    tag="Workers",
    scope="read",
    answers={
        200: answer(
            "Their states, as of at most 3 s ago.",
            Content(
                RunningTasks,
                {"tasks": [{**STATE_EXAMPLE, "state": "STARTED", "runtime_s": 12.5}]},
            ),
        )
    },
    refusals=("unknown-worker", "state-unavailable", "broker-unavailable"),
)


def _command(summary: str, body: tuple[Content, ...], *refusals: str) -> Operation:
    return Operation(
        summary=summary,
        tag="Workers",
        scope="admin",
        body=body,
        answers={
            200: answer("The worker's reply.", Content(Commanded, _REPLIED)),
            202: answer(
                "Sent; the worker did not reply within 2 s, and may carry it out yet.",
                Content(Commanded, _SILENT),
            ),
        },
        refusals=(
            *(JSON_BODY if body else ("invalid-request",)),
            "unknown-worker",
            "state-unavailable",
            "broker-unavailable",
            *refusals,
        ),
    )


_QUEUE = (Content(QueueCommand, {"queue": "default"}),)
CONSUME = _command("Have a worker consume one queue more.", _QUEUE, "unknown-queue")
CANCEL = _command("Have a worker consume one queue less.", _QUEUE, "unknown-queue")
POOL = _command(
    "Have a worker execute more or fewer tasks at a time.", (Content(PoolCommand, {"grow": 2}),)
)
SHUTDOWN = _command("Have a worker stop once what it runs has ended.", ())
_decode_queue = msgspec.json.Decoder(QueueCommand).decode
_decode_pool = msgspec.json.Decoder(PoolCommand).decode


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/v1/workers", workers, operation=LIST),
        web.get("/v1/workers/{name}/tasks", tasks, operation=TASKS),
        web.post("/v1/workers/{name}/consume", consume, operation=CONSUME),
        web.post("/v1/workers/{name}/cancel", cancel, operation=CANCEL),
        web.post("/v1/workers/{name}/pool", pool, operation=POOL),
        web.post("/v1/workers/{name}/shutdown", shutdown, operation=SHUTDOWN),
    ]


async def workers(request: web.Request) -> web.Response:
    """Every worker that has been heard of lately."""
    require(request, "read")
    rows = [_row(one) for one in await request.app[OPERATING].workers.all()]
    return web.Response(body=msgspec.json.encode(WorkerList(rows)), headers=_JSON)


def _row(one: fleet.Worker) -> Worker:
    return Worker(
        name=one.name,
        status=one.status,
        last_heard_at=rfc3339(one.last_heard_at),
        pool=one.pool,
        concurrency=one.concurrency,
        running=one.running,
        queues=one.queues,
        processed=one.processed,
        software=one.software,
    )


async def tasks(request: web.Request) -> web.Response:
    """What runs on a worker; tasks of other tenants are for `admin`."""
    caller = require(request, "read")
    name = request.match_info["name"]
    running = {one.task_id: one for one in await request.app[OPERATING].workers.running(name)}
    known = await request.app[ACCESS].known_ids.of_tasks(caller, running)
    states = await request.app[STATES].read(known)
    now = time.time()
    rows = [
        _running(state, running[task_id], name, now, caller)
        for task_id, state in states.items()
        if not state.final
    ]
    return web.Response(body=b'{"tasks":[%b]}' % b",".join(rows), headers=_JSON)


def _running(state: State, task: RunningTask, worker: str, now: float, caller: Caller) -> bytes:
    """Return the state of a task that a worker says it runs, whatever Redis knows of it."""
    if state.state in {"", "PENDING", "RETRY"}:
        state = msgspec.structs.replace(state, state="STARTED", code=None)
    state = msgspec.structs.replace(
        state,
        task=state.task or task.task,
        worker=state.worker or worker,
        started_at=state.started_at or rfc3339(task.start),
    )
    more: dict[str, Any] = {"runtime_s": round(max(0.0, now - task.start), 3)}
    if task.queue is not None:
        more["queue"] = task.queue
    # The state as it is told everywhere, byte for byte, with two members more.
    return state.to_json(admin=caller.admin)[:-1] + b"," + msgspec.json.encode(more)[1:]


@audited("worker.consume")
async def consume(request: web.Request) -> web.Response:
    """Have a worker consume a queue, until it is restarted."""
    return await _queue_command(request, "add_consumer")


@audited("worker.cancel")
async def cancel(request: web.Request) -> web.Response:
    """Have a worker consume a queue no more, until it is restarted."""
    return await _queue_command(request, "cancel_consumer")


async def _queue_command(request: web.Request, command: str) -> web.Response:
    require(request, "admin")
    asked: QueueCommand = await _asked(request, _decode_queue)
    if asked.queue not in request.app[TOPOLOGY].queues:
        raise Problem("unknown-queue", f"there is no queue {asked.queue!r} in the layout")
    name = request.match_info["name"]
    noted(request, f"{name} {asked.queue}")
    return await _commanded(request, command, {"queue": asked.queue})


@audited("worker.pool")
async def pool(request: web.Request) -> web.Response:
    """Add slots to the pool of a worker, or take some away, until it is restarted."""
    require(request, "admin")
    grow = (await _asked(request, _decode_pool)).grow
    noted(request, request.match_info["name"], grow)
    return await _commanded(request, "pool_grow" if grow >= 0 else "pool_shrink", {"n": abs(grow)})


@audited("worker.shutdown")
async def shutdown(request: web.Request) -> web.Response:
    """Have a worker stop warmly; whoever supervises it may start it again."""
    require(request, "admin")
    operating = request.app[OPERATING].workers
    worker = await operating.find(request.match_info["name"])
    return _answer(worker.name, await operating.shut_down(worker))


async def _asked(request: web.Request, decode: Any) -> Any:
    check_json(request)
    return decode_with(decode, await request.app[INTAKE].bodies.read(request, _MAX_BODY_BYTES))


async def _commanded(request: web.Request, command: str, arguments: dict[str, Any]) -> web.Response:
    operating = request.app[OPERATING].workers
    worker = await operating.find(request.match_info["name"])
    return _answer(worker.name, await operating.command(worker, command, arguments))


def _answer(worker: str, reply: Reply) -> web.Response:
    body = Commanded(worker=worker, replied=reply.replied, reply=reply.words or None)
    status = 200 if reply.replied else 202
    return web.Response(status=status, body=msgspec.json.encode(body), headers=_JSON)
