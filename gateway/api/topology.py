"""What exists on RabbitMQ, as the layout declares it."""

from typing import Any

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.api.fields import Count
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import TOPOLOGY
from gateway.api.queries import choice
from topology import entities, model
from topology.declarations import Declarations
from topology.plan import declarations

_JSON = {"Content-Type": "application/json"}


class Exchange(msgspec.Struct):
    """An exchange as declared."""

    name: str
    type: str
    publishable: bool
    """Whether a submit may name it."""
    owner: entities.Owner
    """`app`: a Celery app declares it; its arguments are not known here."""
    arguments: dict[str, Any]


class Queue(msgspec.Struct):
    """A work queue as declared."""

    name: str
    type: str
    limit: Count
    """Messages from which submits are refused."""
    max_priority: int | None
    dead_letter_queue: str | None
    owner: entities.Owner
    """`app`: a Celery app declares it; its arguments are not known here."""
    arguments: dict[str, Any]


class Binding(msgspec.Struct, omit_defaults=True):
    """A binding of a queue to an exchange."""

    exchange: str
    queue: str
    key: str
    arguments: dict[str, Any] | None = None
    """Of the type `headers`."""


class TaskRoute(msgspec.Struct, omit_defaults=True):
    """Where tasks of a name, or of a pattern, go."""

    task: str
    exchange: str
    routing_key: str
    privileged: bool
    """Only an exact name in a key's allow-list grants it."""
    options: dict[str, float] | None = None
    """Of a submit that names none: `priority`, `expires`."""


class Topology(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The layout."""

    exchanges: list[Exchange]
    queues: list[Queue]
    bindings: list[Binding]
    routes: list[TaskRoute]
    derived: dict[str, Any] | None = None
    """With `?derived=true`: dead-letter queues, delay levels and their bindings."""


def binding_of(binding: entities.Binding) -> Binding:
    """Return a binding as clients see it."""
    arguments = dict(binding.arguments) or None
    return Binding(binding.exchange, binding.queue, binding.key, arguments)


DERIVED = choice(
    "derived",
    "Also what follows: dead letters, delay levels.",
    {"true": True, "false": False},
    default=False,
    expected="true or false",
)
BINDING_EXAMPLE = {"exchange": "tasks", "queue": "default", "key": "default"}
SHOW = Operation(
    summary="Exchanges, queues, bindings and task routes as declared.",
    tag="Queues",
    scope="read",
    query=(DERIVED,),
    answers={
        200: answer(
            "The layout.",
            Content(
                Topology,
                {
                    "exchanges": [
                        {
                            "name": "tasks",
                            "type": "direct",
                            "publishable": True,
                            "owner": "penstock",
                            "arguments": {},
                        }
                    ],
                    "queues": [
                        {
                            "name": "default",
                            "type": "quorum",
                            "limit": 500_000,
                            "max_priority": None,
                            "dead_letter_queue": "default.dead",
                            "owner": "penstock",
                            "arguments": {"x-queue-type": "quorum"},
                        }
                    ],
                    "bindings": [BINDING_EXAMPLE],
                    "routes": [
                        {
                            "task": "demo.*",
                            "exchange": "tasks",
                            "routing_key": "default",
                            "privileged": False,
                        }
                    ],
                },
            ),
        )
    },
    refusals=("invalid-request",),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [web.get("/v1/topology", show, operation=SHOW)]


async def show(request: web.Request) -> web.Response:
    """Exchanges, queues, bindings and task routes as declared, and what is derived from them."""
    require(request, "read")
    layout = request.app[TOPOLOGY]
    body = _shown(layout)
    if DERIVED.of(request):
        body.derived = _derived(declarations(layout), layout)
    return web.Response(body=msgspec.json.encode(body), headers=_JSON)


def _shown(layout: model.Topology) -> Topology:
    return Topology(
        exchanges=[
            Exchange(one.name, one.type, one.publishable, one.owner, dict(one.arguments))
            for one in layout.exchanges.values()
        ],
        queues=[
            Queue(
                one.name,
                one.type,
                one.limit,
                one.max_priority,
                layout.dead_queue(one.name) if one.dead_letter else None,
                one.owner,
                dict(one.arguments),
            )
            for one in layout.queues.values()
        ],
        bindings=[binding_of(one) for one in layout.bindings],
        routes=[
            TaskRoute(
                one.task, one.exchange, one.routing_key, one.privileged, dict(one.defaults) or None
            )
            for one in layout.routes
        ],
    )


_TO = {"queue": "queue", "exchange": "destination_exchange"}


def _derived(plan: Declarations, layout: model.Topology) -> dict[str, Any]:
    own = {(binding.exchange, binding.queue, binding.key) for binding in layout.bindings}
    return {
        "exchanges": [
            {"name": one.name, "type": one.type, "arguments": dict(one.arguments)}
            for one in plan.exchanges
            if one.name not in layout.exchanges
        ],
        "queues": [
            {"name": one.name, "arguments": dict(one.arguments)}
            for one in plan.queues
            if one.name not in layout.queues
        ],
        "bindings": [
            {
                "exchange": one.source,
                _TO[one.destination_type]: one.destination,
                "key": one.key,
                "arguments": dict(one.arguments),
            }
            for one in plan.bindings
            if (one.source, one.destination, one.key) not in own
        ],
    }
