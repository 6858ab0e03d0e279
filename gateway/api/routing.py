"""Where messages go: which bindings match, and what is honoured there."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.api.fields import Count
from gateway.api.operation import JSON_BODY, Content, Operation, answer
from gateway.api.parts import BROKER, INTAKE, SUBMITTING, TOPOLOGY
from gateway.api.topology import BINDING_EXAMPLE, Binding, binding_of
from gateway.decoding.choices import Schema, given, missing, one_of
from gateway.decoding.typed_json import decode_with
from gateway.errors import Problem, invalid_request
from gateway.http.media_types import check_json
from gateway.operating.routing import Explanation, explain
from gateway.rabbitmq.management import QueueFigures
from gateway.rabbitmq.parts import Broker
from gateway.submitting.destinations import no_exchange, no_route
from gateway.submitting.priorities import honours
from gateway.submitting.task_request import TaskName
from penstock.wire.names import BROADCAST_EXCHANGE, BROADCAST_QUEUE_PREFIX
from topology import model
from topology.route import Route

_MAX_QUESTION_BYTES = 64 * 1024
_JSON = {"Content-Type": "application/json"}
_Key = Annotated[str, msgspec.Meta(max_length=255)]


class Question(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where would this go? A task's name, or an exchange and a routing key."""

    SCHEMA: ClassVar[Schema] = one_of(
        given("task") | missing("exchange", "routing_key"), given("exchange") | missing("task")
    )

    task: TaskName | None = None
    exchange: _Key | None = None
    routing_key: _Key | None = None
    headers: dict[str, str | int | float | bool | None] = {}
    """Only exchanges of the type `headers` look at them."""


class MatchedQueue(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A queue that takes the message."""

    name: str
    type: str
    priority: bool
    """Whether it honours priorities."""
    limit: Count | None = None
    """Of a work queue: messages from which submits are refused."""
    max_priority: int | None = None
    consumers: Count | None = None
    """Where it is known."""


class RouteExplanation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where a message goes, and what is honoured there."""

    task: str | None = None
    route: str | None = None
    """The name or pattern that matches the task."""
    privileged: bool | None = None
    announced: bool | None = None
    """Whether a worker announces the task."""
    exchange: str
    routing_key: str
    routable: bool
    through: tuple[str, ...]
    """Exchanges in the order asked: the one named, then alternates."""
    bindings: list[Binding]
    """Those that match; none on the default exchange."""
    queues: list[MatchedQueue]
    priority: bool
    delay: bool


EXPLAIN = Operation(
    summary="Explain where a message would go; publishes nothing.",
    tag="Queues",
    scope="read",
    body=(Content(Question, {"exchange": "tasks", "routing_key": "default"}),),
    answers={
        200: answer(
            "Bindings and queues that match.",
            Content(
                RouteExplanation,
                {
                    "exchange": "tasks",
                    "routing_key": "default",
                    "routable": True,
                    "through": ["tasks"],
                    "bindings": [BINDING_EXAMPLE],
                    "queues": [{"name": "default", "type": "quorum", "priority": False}],
                    "priority": False,
                    "delay": True,
                },
            ),
        )
    },
    refusals=(*JSON_BODY, "unknown-task", "unknown-exchange", "metrics-unavailable"),
)
_question = msgspec.json.Decoder(Question).decode


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [web.post("/v1/topology/route", route, operation=EXPLAIN)]


async def route(request: web.Request) -> web.Response:
    """Explain where a message would go, and what is honoured there. Publishes nothing.

    Who hears broadcasts is known where the management API is configured.

    Raises:
        Problem: `unknown-task`, `unknown-exchange`, `invalid-request`, `metrics-unavailable`.
    """
    require(request, "read")
    check_json(request)
    layout, broker = request.app[TOPOLOGY], request.app[BROKER]
    question: Question = decode_with(
        _question, await request.app[INTAKE].bodies.read(request, _MAX_QUESTION_BYTES)
    )
    if (question.task is None) == (question.exchange is None):
        raise invalid_request("$", "Expected either task, or exchange and routing_key")
    found: Route | None = None
    exchange, routing_key = question.exchange or "", question.routing_key or ""
    if question.task is not None:
        if question.routing_key is not None:
            raise invalid_request("$.routing_key", "Excludes task")
        found = layout.route(question.task)
        if found is None:
            raise Problem("unknown-task", no_route(question.task), queued="no")
        exchange, routing_key = found.exchange, found.routing_key
    elif exchange and exchange not in layout.exchanges:
        raise Problem("unknown-exchange", no_exchange(exchange), queued="no")
    told = _explained(explain(layout, exchange, routing_key, question.headers), layout, broker)
    if found is not None and question.task is not None:
        told.task, told.route, told.privileged = question.task, found.task, found.privileged
        told.announced = bool(request.app[SUBMITTING].catalog.announced(question.task))
    if exchange == BROADCAST_EXCHANGE and broker.management is not None:
        _add_workers(told, await broker.management.queues())
    return web.Response(body=msgspec.json.encode(told), headers=_JSON)


def _explained(found: Explanation, layout: model.Topology, broker: Broker) -> RouteExplanation:
    depths = broker.depths.depths
    rows = [layout.queues[name] for name in found.queues]
    queues = [
        MatchedQueue(
            name=queue.name,
            type=queue.type,
            priority=honours(queue, broker.publisher.rabbitmq_major),
            limit=queue.limit,
            max_priority=queue.max_priority,
            consumers=depths[queue.name].consumers if queue.name in depths else None,
        )
        for queue in rows
    ]
    return RouteExplanation(
        exchange=found.exchange,
        routing_key=found.routing_key,
        routable=bool(queues),
        through=found.through,
        bindings=[binding_of(one) for one in found.bindings],
        queues=queues,
        priority=any(queue.priority for queue in queues),
        delay=layout.delayable(found.exchange, found.routing_key),
    )


def _add_workers(told: RouteExplanation, figures: Mapping[str, QueueFigures]) -> None:
    """Add the queues that workers bind to the broadcast exchange themselves."""
    workers = [name for name in sorted(figures) if name.startswith(BROADCAST_QUEUE_PREFIX)]
    told.routable = told.routable or bool(workers)
    for name in workers:
        told.bindings.append(Binding(BROADCAST_EXCHANGE, name, ""))
        consumers = figures[name].consumers
        row = MatchedQueue(name=name, type="classic", priority=False, consumers=consumers)
        told.queues.append(row)
