"""A task for every worker, through the fanout exchange."""

import contextlib

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.access.carried import carried
from gateway.api.audited import audited, noted
from gateway.api.operation import SUBMITTING as SUBMITTING_REFUSALS
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import BROKER, INTAKE, SUBMITTING, TOPOLOGY
from gateway.api.submit import TASK_ID
from gateway.errors import Problem
from gateway.http.media_types import check_json
from gateway.submitting.plan import EVERYWHERE
from gateway.submitting.task_request import TaskRequest
from gateway.timestamps import Time, issued_at
from penstock.wire.names import BROADCAST_EXCHANGE, BROADCAST_QUEUE_PREFIX

_JSON = {"Content-Type": "application/json"}


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
    return [web.post("/v1/broadcast", broadcast, operation=BROADCAST)]


@audited("task.broadcast")
async def broadcast(request: web.Request) -> web.Response:
    """Publish one task to every worker; 202 when RabbitMQ confirmed it for each of their queues."""
    caller = require(request, "admin")
    check_json(request)
    submitting = request.app[SUBMITTING]
    body = await request.app[INTAKE].bodies.read(request, submitting.max_task_bytes)
    try:
        message = await submitting.submission.submit(body, caller, carried(request), EVERYWHERE)
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
