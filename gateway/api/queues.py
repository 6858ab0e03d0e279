"""How full the work queues are and how they move; pausing, resuming and purging them."""

import time

import msgspec
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import require
from gateway.api.audited import audited, noted
from gateway.api.fields import Count, NotNegative
from gateway.api.long_operations import begun_once
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import BROKER, OPERATING, TOPOLOGY
from gateway.api.queries import choice, text
from gateway.errors import Problem
from gateway.operating.pauses import Paused, PausedQueue
from gateway.operating.purging import PURGE as PURGING
from gateway.operating.queue_past import STEP_S, QueuePast
from gateway.rabbitmq.management import QueueFigures, added
from gateway.timestamps import Time, rfc3339
from topology.entities import Queue

_JSON = {"Content-Type": "application/json"}


class Rates(msgspec.Struct):
    """Messages each second, as RabbitMQ sampled them."""

    publish: float
    deliver: float
    ack: float


class QueueHistory(msgspec.Struct):
    """The last hour of a queue, in steps; null: not known."""

    step_s: Count
    until: Time
    """When the last step ends, which goes on."""
    in_per_s: list[NotNegative | None]
    """Messages that entered each second, oldest step first."""
    out_per_s: list[NotNegative | None]
    """Messages that workers took each second."""


class QueueRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A work queue; figures need the management API."""

    name: str
    type: str
    limit: Count
    """Messages from which submits are refused."""
    shards: Count | None = None
    """Queues of RabbitMQ that share its messages; the figures are added up, but of `consumers`
    those of the shard with the most. Absent: it is one queue."""
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
    paused_by: str | None = None
    """Name of the key that paused it."""
    paused_at: Time | None = None
    dead_letter_queue: str | None = None
    dead_letters: Count | None = None
    history: QueueHistory | None = None
    """With `?with=history`, where workers with this library alone consume it: since this gateway
    started, at most the last hour."""


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


WITH = choice("with", "`history`: rates of the last hour.", {"history": True}, default=False)
NAME = text("name", "That queue alone; an empty list where there is none.")
QUEUES = Operation(
    summary="Work queues; with figures when the management API is configured.",
    tag="Queues",
    scope="read",
    query=(WITH, NAME),
    answers={
        200: answer(
            "Each queue.",
            Content(
                QueueList,
                {"queues": [{"name": "default", "type": "quorum", "limit": 500000, "full": False}]},
            ),
        )
    },
    refusals=("invalid-request", "metrics-unavailable"),
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
    idempotent=True,
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/v1/queues", queues, operation=QUEUES),
        web.post("/v1/queues/{name}/pause", pause, operation=PAUSE),
        web.post("/v1/queues/{name}/resume", resume, operation=RESUME),
        web.post("/v1/queues/{name}/purge", purge, operation=PURGE),
    ]


async def queues(request: web.Request) -> web.Response:
    """Every work queue; with figures when the management API is configured.

    Raises:
        Problem: `metrics-unavailable`: it is configured and does not answer.
    """
    require(request, "read")
    with_history, only = WITH.of(request), NAME.of(request)
    layout, broker = request.app[TOPOLOGY], request.app[BROKER]
    figures: dict[str, QueueFigures] = {}
    if broker.management is not None:
        figures = await broker.management.queues()
    paused = await request.app[OPERATING].pauses.read()
    rows = []
    wanted = {name: queue for name, queue in layout.queues.items() if only in {None, name}}
    for name, queue in wanted.items():
        row = _row(queue, added(figures, queue.shard_names), full=broker.depths.full(name))
        if (flow := request.app[OPERATING].flows.of(name)) is not None:
            row.started_per_s, row.drain_s = _rounded(flow.started_per_s), _rounded(flow.drain_s)
            row.oldest_s = _rounded(flow.oldest_s(time.monotonic()))
        if paused is not None:
            _pause(row, paused.get(name))
        if queue.dead_letter:
            row.dead_letter_queue = dead = layout.dead_queue(name)
            row.dead_letters = figures[dead].messages_ready if dead in figures else None
        if with_history and (past := request.app[OPERATING].flows.past(name)) is not None:
            row.history = _history(past, time.time())
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

    async def begin(operation_id: str) -> bytes:
        ready = await operating.purging.count(queue)
        one = await operating.operations.begin(PURGING, queue, caller.tenant, ready, operation_id)
        noted(request, queue, one.of)
        return msgspec.json.encode(Purge(one.id, queue, one.of))

    return await begun_once(request, caller, idempotency.key_of(request), b"", begin)


def _history(past: QueuePast, now: float) -> QueueHistory:
    entered, left = past.rates(now)
    return QueueHistory(STEP_S, rfc3339((now // STEP_S + 1) * STEP_S), entered, left)


def _pause(row: QueueRow, found: PausedQueue | None) -> None:
    row.paused = False if found is None else found.how
    if found is not None and found.why is not None:
        row.paused_by, row.paused_at = found.why.by, rfc3339(found.why.at)


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
        shards=queue.shards,
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
