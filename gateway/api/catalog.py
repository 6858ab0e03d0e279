"""GET /v1/catalog: the tasks that live workers announce, and those that the layout routes."""

from typing import Any

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import CONFIG, OPERATING, SUBMITTING, TOPOLOGY
from gateway.operating.tasks import known_tasks


class CatalogTask(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One task."""

    name: str
    schema: dict[str, Any] | None = None
    """JSON Schema of its arguments by name, as one of its workers announced last."""
    positional: tuple[str, ...] | None = None
    """Names of the arguments that can be given by place, in order; where `schema` is."""
    doc: str | None = None
    """The docstring of its function."""
    workers: tuple[str, ...]
    """Node names of the live workers that have it."""
    queues: tuple[str, ...]
    """Where its route leads; none: only its own workers' clients can publish it."""


class CatalogList(msgspec.Struct, omit_defaults=True):
    """Every task, by name."""

    tasks: list[CatalogTask]
    trace_url: str | None = None
    """Where the trace of a task is shown: with its `trace_id` in place of `{trace_id}`."""


CATALOG = Operation(
    summary="The tasks that live workers announce, or a route of the layout names.",
    tag="Workers",
    scope="read",
    answers={
        200: answer(
            "Each task.",
            Content(
                CatalogList,
                {
                    "tasks": [
                        {
                            "name": "demo.add",
                            "schema": {
                                "type": "object",
                                "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
                                "required": ["x", "y"],
                                "additionalProperties": False,
                            },
                            "positional": ["x", "y"],
                            "doc": "Add two numbers.",
                            "workers": ["celery@w1"],
                            "queues": ["default"],
                        }
                    ]
                },
            ),
        )
    },
    refusals=("state-unavailable",),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [web.get("/v1/catalog", catalog, operation=CATALOG)]


async def catalog(request: web.Request) -> web.Response:
    """The tasks, as far as the gateway has read them: what workers announced up to 3 s ago."""
    require(request, "read")
    workers = await request.app[OPERATING].workers.having()
    found = known_tasks(request.app[TOPOLOGY], request.app[SUBMITTING].catalog, workers)
    tasks = [
        CatalogTask(
            name=one.name,
            schema=one.schema,
            positional=one.positional,
            doc=one.doc,
            workers=one.workers,
            queues=one.queues,
        )
        for one in found
    ]
    body = msgspec.json.encode(CatalogList(tasks, request.app[CONFIG].trace_url or None))
    return web.Response(body=body, headers={"Content-Type": "application/json"})
