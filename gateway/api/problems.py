"""What is wrong now, and how many workers a queue wants."""

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.api.fields import Count, NotNegative
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import BROKER, OPERATING, TOPOLOGY
from gateway.api.queries import whole_number
from gateway.errors import Problem
from gateway.operating.scaling import TARGET_S, Load, wanted
from gateway.timestamps import Time, rfc3339
from penstock.wire.delay import level_name

_JSON = {"Content-Type": "application/json"}
_DUE_LEVELS = 6
"""Delay levels that hold messages for up to 32 s each: what waits there is due in a minute."""


class ProblemRow(msgspec.Struct):
    """Something that is wrong."""

    code: str
    """`queue-without-worker`, `queue-stalled`, `worker-silent`, `task-stuck`, `beat-silent`,
    `dead-letters-growing`, `redis-memory`, `redis-refuses`, `history-behind`,
    `documents-waiting`, `documents-refused`."""
    subject: str
    """A queue, a worker, a task, a server, a collection."""
    since: Time
    detail: str
    advice: str
    """What to do, and the page of `docs/runbook.md`."""


class ProblemList(msgspec.Struct, omit_defaults=True):
    """What is wrong now, the oldest first."""

    problems: list[ProblemRow]
    scheduler: bool | None = None
    """Whether a scheduler of periodic tasks runs; absent: not known yet."""


class Scaling(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Figures of one queue, flat for autoscalers."""

    backlog: Count
    """Messages ready."""
    running: Count
    """Tasks of it that run."""
    due_60s: Count
    """Delayed messages due within about a minute, of all queues: whose they are shows then."""
    drain_s: NotNegative | None = None
    """Until the backlog has started at the rate of now; absent: nothing starts, or not known."""
    wanted: Count
    """Workers that would start the backlog within `?target_s=`; 0 while the queue is paused."""


TARGET = whole_number(
    "target_s",
    f"Seconds in which what waits should have started ({TARGET_S:g}).",
    default=int(TARGET_S),
    at_most=86_400,
)
PROBLEMS = Operation(
    summary="What is wrong now, as the gauge penstock_problem has it.",
    tag="Workers",
    scope="read",
    answers={
        200: answer(
            "Each problem.",
            Content(
                ProblemList,
                {
                    "problems": [
                        {
                            "code": "queue-without-worker",
                            "subject": "scripts",
                            "since": "2026-01-31T12:00:00.000Z",
                            "detail": "ready messages: 12; no worker consumes the queue",
                            "advice": "start a worker with -Q scripts, or have one consume it: "
                            "POST /v1/workers/{name}/consume "
                            "(docs/runbook.md#queue-without-worker)",
                        }
                    ],
                    "scheduler": True,
                },
            ),
        )
    },
)
SCALING = Operation(
    summary="How many workers a queue wants.",
    tag="Workers",
    scope="read",
    query=(TARGET,),
    answers={
        200: answer(
            "Its figures.",
            Content(
                Scaling,
                {"backlog": 900, "running": 8, "due_60s": 0, "drain_s": 30.0, "wanted": 2},
            ),
        )
    },
    refusals=("invalid-request", "unknown-queue", "broker-unavailable", "state-unavailable"),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/v1/problems", problems, operation=PROBLEMS),
        web.get("/v1/scaling/{queue}", scaling, operation=SCALING),
    ]


async def problems(request: web.Request) -> web.Response:
    """What is wrong, as it was up to 5 s ago."""
    require(request, "read")
    looks = request.app[OPERATING].problems
    rows = [
        ProblemRow(
            code=one.finding.code,
            subject=one.finding.subject,
            since=rfc3339(one.since),
            detail=one.finding.detail,
            advice=one.advice,
        )
        for one in looks.now
    ]
    return web.Response(body=msgspec.json.encode(ProblemList(rows, looks.scheduler)), headers=_JSON)


async def scaling(request: web.Request) -> web.Response:
    """Figures of a queue for autoscalers."""
    require(request, "read")
    target_s = TARGET.of(request)
    queue, operating = request.match_info["queue"], request.app[OPERATING]
    if queue not in request.app[TOPOLOGY].queues:
        raise Problem("unknown-queue", f"there is no queue {queue!r} in the layout")
    depths = request.app[BROKER].depths.depths
    if queue not in depths:
        raise Problem("broker-unavailable", f"how deep queue {queue!r} is, is not known")
    flow = operating.flows.of(queue)
    running, workers, slots, busy = await operating.workers.load(queue)
    paused = await operating.pauses.read()
    load = Load(
        backlog=depths[queue].ready,
        running=running,
        workers=workers,
        slots=slots,
        busy=busy,
        started_per_s=None if flow is None else flow.started_per_s,
        paused=queue in (paused or {}),
    )
    levels = [depths.get(level_name(level)) for level in range(_DUE_LEVELS)]
    drain_s = None if flow is None else flow.drain_s
    body = Scaling(
        backlog=load.backlog,
        running=running,
        due_60s=sum(one.ready for one in levels if one is not None),
        drain_s=None if drain_s is None else round(drain_s, 1),
        wanted=wanted(load, target_s),
    )
    return web.Response(body=msgspec.json.encode(body), headers=_JSON)
