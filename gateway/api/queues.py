"""How full the work queues are, and a task for every worker."""

import contextlib
import time

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.api.audited import audited, noted
from gateway.api.fields import Count, NotNegative
from gateway.api.operation import SUBMITTING as SUBMITTING_REFUSALS
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import BROKER, INTAKE, OPERATING, SUBMITTING, TOPOLOGY
from gateway.api.submit import TASK_ID
from gateway.errors import Problem
from gateway.http.media_types import check_json
from gateway.http.trace_context import traceparent
from gateway.operating.pauses import Paused
from gateway.operating.purging import KIND as PURGING
from gateway.rabbitmq.management import QueueFigures
from gateway.submitting.plan import EVERYWHERE
from gateway.submitting.task_request import TaskRequest
from gateway.timestamps import Time, issued_at
from penstock.wire.names import BROADCAST_EXCHANGE, BROADCAST_QUEUE_PREFIX
from topology.entities import Queue

_JSON = {"Content-Type": "application/json"}


class Rates(msgspec.Struct):
    """Messages each second, as RabbitMQ sampled them."""

    publish: float
    deliver: float
    ack: float


class QueueRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A work queue; figures need the management API."""

    name: str
    type: str
    limit: Count
    """Messages from which submits are refused."""
    max_priority: int | None = None
    full: bool
    ready: Count | None = None
    unacknowledged: Count | None = None
    consumers: Count | None = None
    rates: Rates | None = None
    started_per_s: NotNegative | None = None
    """Tasks that workers with this library started each second of the last half minute."""
    drain_s: NotNegative | None = None
    """Until what is ready has started, at that rate; absent: nothing starts, or not known."""
    oldest_s: NotNegative | None = None
    """Age of the oldest ready message, estimated from arrivals and depth; absent: none, or not
    known, as of what was ready before this gateway started."""
    paused: Paused | None = None
    """Whether workers start no task of it; `partly`: those that are not ours may; absent: Redis is
    away, and it is not known."""
    dead_letter_queue: str | None = None
    dead_letters: Count | None = None


class QueueList(msgspec.Struct):
    """Every work queue."""

    queues: list[QueueRow]


class QueuePause(msgspec.Struct):
    """Whether a queue is paused."""

    queue: str
    paused: Paused


class Purge(msgspec.Struct):
    """A queue is being purged."""

    operation: str
    """Id for GET /v1/operations/{id}."""
    queue: str
    of: Count
    """Messages that were ready."""


class BroadcastReceipt(msgspec.Struct, omit_defaults=True):
    """RabbitMQ confirmed a task for every queue of a worker that it has; no single result.

    Of workers that were heard of lately: whose queue took it, and whose node was down.
    """

    id: str
    task: str
    exchange: str
    tracked: bool
    accepted_at: Time
    reached: list[str] | None = None
    not_reached: list[str] | None = None


QUEUES = Operation(
    summary="Work queues; with figures when the management API is configured.",
    tag="Queues",
    scope="read",
    answers={
        200: answer(
            "Each queue.",
            Content(
                QueueList,
                {"queues": [{"name": "default", "type": "quorum", "limit": 500000, "full": False}]},
            ),
        )
    },
    refusals=("metrics-unavailable",),
)
PAUSE = Operation(
    summary="Have no worker start a task of a queue; what runs goes on, what is submitted waits.",
    tag="Queues",
    scope="admin",
    answers={
        200: answer("It is paused.", Content(QueuePause, {"queue": "default", "paused": True}))
    },
    refusals=("unknown-queue", "state-unavailable"),
)
RESUME = Operation(
    summary="Let workers go on with a queue.",
    tag="Queues",
    scope="admin",
    answers={
        200: answer("It goes on.", Content(QueuePause, {"queue": "default", "paused": False}))
    },
    refusals=("unknown-queue", "state-unavailable"),
)
PURGE = Operation(
    summary="End each task that is ready in a queue as REVOKED, with what waits for it.",
    tag="Queues",
    scope="admin",
    answers={
        202: answer(
            "A gateway begins with it; GET /v1/operations/{id} has how far it is.",
            Content(
                Purge,
                {"operation": "6f1f7f0e-6f0e-4c63-8f0a-2f6f3f0d7a11", "queue": "default", "of": 9},
            ),
        )
    },
    refusals=("unknown-queue", "state-unavailable", "broker-unavailable"),
)
BROADCAST = Operation(
    summary="A task for every worker, through the fanout exchange.",
    tag="Queues",
    scope="admin",
    body=(Content(TaskRequest, {"task": "demo.add", "args": [1, 2]}),),
    answers={
        202: answer(
            "Accepted; it has no single result.",
            Content(
                BroadcastReceipt,
                {
                    "id": TASK_ID,
                    "task": "demo.add",
                    "exchange": "broadcast",
                    "tracked": False,
                    "accepted_at": "2026-01-31T12:00:00.000Z",
                    "reached": ["celery@w1", "celery@w2"],
                    "not_reached": [],
                },
            ),
        )
    },
    refusals=SUBMITTING_REFUSALS,
)


_NOBODY = (
    "no worker hears broadcasts: none of Penstock's is up, and an app's hear those of a task that "
    'is routed to a fanout exchange of the app (owner = "app"; kombu\'s Broadcast)'
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/v1/queues", queues, operation=QUEUES),
        web.post("/v1/queues/{name}/pause", pause, operation=PAUSE),
        web.post("/v1/queues/{name}/resume", resume, operation=RESUME),
        web.post("/v1/queues/{name}/purge", purge, operation=PURGE),
        web.post("/v1/broadcast", broadcast, operation=BROADCAST),
    ]


async def queues(request: web.Request) -> web.Response:
    """Every work queue; with figures when the management API is configured.

    Raises:
        Problem: `metrics-unavailable`: it is configured and does not answer.
    """
    require(request, "read")
    layout, broker = request.app[TOPOLOGY], request.app[BROKER]
    figures: dict[str, QueueFigures] = {}
    if broker.management is not None:
        figures = await broker.management.queues()
    paused = await request.app[OPERATING].pauses.read()
    rows = []
    for name, queue in layout.queues.items():
        row = _row(queue, figures.get(name), full=broker.depths.full(name))
        if (flow := request.app[OPERATING].flows.of(name)) is not None:
            row.started_per_s, row.drain_s = _rounded(flow.started_per_s), _rounded(flow.drain_s)
            row.oldest_s = _rounded(flow.oldest_s(time.monotonic()))
        row.paused = None if paused is None else paused.get(name, False)
        if queue.dead_letter:
            row.dead_letter_queue = dead = layout.dead_queue(name)
            row.dead_letters = figures[dead].messages_ready if dead in figures else None
        rows.append(row)
    return web.Response(body=msgspec.json.encode(QueueList(rows)), headers=_JSON)


@audited("queue.pause")
async def pause(request: web.Request) -> web.Response:
    """Pause a queue until it is resumed, whatever restarts."""
    caller = require(request, "admin")
    queue = _queue(request)
    paused = await request.app[OPERATING].pauses.pause(queue, caller.name)
    return web.Response(body=msgspec.json.encode(QueuePause(queue, paused)), headers=_JSON)


@audited("queue.resume")
async def resume(request: web.Request) -> web.Response:
    """Let workers go on with a queue; one that was not paused stays as it is."""
    require(request, "admin")
    queue = _queue(request)
    await request.app[OPERATING].pauses.resume(queue)
    return web.Response(body=msgspec.json.encode(QueuePause(queue, paused=False)), headers=_JSON)


@audited("queue.purge")
async def purge(request: web.Request) -> web.Response:
    """End what is ready in a queue now; what comes later stays."""
    caller = require(request, "admin")
    queue, operating = _queue(request), request.app[OPERATING]
    ready = await operating.purging.count(queue)
    one = await operating.operations.begin(PURGING, queue, caller.tenant, ready)
    noted(request, queue, ready)
    body = msgspec.json.encode(Purge(one.id, queue, ready))
    headers = {**_JSON, "Location": f"/v1/operations/{one.id}"}
    return web.Response(status=202, body=body, headers=headers)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _queue(request: web.Request) -> str:
    """Return the queue of the path.

    Raises:
        Problem: `unknown-queue`.
    """
    name = request.match_info["name"]
    if name not in request.app[TOPOLOGY].queues:
        raise Problem("unknown-queue", f"there is no queue {name!r} in the layout")
    return name


def _row(queue: Queue, figures: QueueFigures | None, *, full: bool) -> QueueRow:
    row = QueueRow(
        name=queue.name,
        type=queue.type,
        limit=queue.limit,
        max_priority=queue.max_priority,
        full=full,
    )
    if figures is not None:
        stats = figures.message_stats
        row.ready = figures.messages_ready
        row.unacknowledged = figures.messages_unacknowledged
        row.consumers = figures.consumers
        row.rates = Rates(
            publish=stats.publish_details.rate,
            deliver=stats.deliver_get_details.rate,
            ack=stats.ack_details.rate,
        )
    return row


@audited("task.broadcast")
async def broadcast(request: web.Request) -> web.Response:
    """Publish one task to every worker; 202 when RabbitMQ confirmed it for each of their queues."""
    caller = require(request, "admin")
    check_json(request)
    submitting = request.app[SUBMITTING]
    body = await request.app[INTAKE].bodies.read(request, submitting.max_task_bytes)
    try:
        message = await submitting.submission.submit(body, caller, traceparent(request), EVERYWHERE)
    except Problem as problem:
        if problem.code == "unroutable":
            raise Problem("unroutable", _NOBODY, queued="no") from problem
        raise
    noted(request, f"{message.task} {message.task_id}")
    layout = request.app[TOPOLOGY]
    route = layout.route(message.task)
    receipt = BroadcastReceipt(
        id=message.task_id,
        task=message.task,
        exchange=layout.broadcast(route)[0] if route is not None else BROADCAST_EXCHANGE,
        tracked=False,
        accepted_at=issued_at(message.task_id),
    )
    with contextlib.suppress(Problem):  # RabbitMQ went away since
        workers = sorted(submitting.catalog.workers.slots)
        away = await request.app[BROKER].depths.are_away(
            BROADCAST_QUEUE_PREFIX + worker for worker in workers
        )
        of_away = {queue.removeprefix(BROADCAST_QUEUE_PREFIX) for queue in away}
        receipt.reached = [worker for worker in workers if worker not in of_away]
        receipt.not_reached = sorted(of_away)
    return web.Response(status=202, body=msgspec.json.encode(receipt), headers=_JSON)
