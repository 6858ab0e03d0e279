"""What exists on RabbitMQ, where messages go, how full the queues are; a task for every worker."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import orjson
from aiohttp import web

from gateway.access.auth import require
from gateway.api.parts import BROKER, INTAKE, SUBMITTING, TOPOLOGY
from gateway.errors import Problem, invalid_request
from gateway.http.media_types import check_json
from gateway.http.trace_context import traceparent
from gateway.operating.routing import binding_json, explain
from gateway.rabbitmq.management import QueueFigures
from gateway.submitting.destinations import no_exchange, no_route
from gateway.submitting.plan import EVERYWHERE
from gateway.submitting.task_request import decode_with
from gateway.timestamps import issued_at
from penstock.wire.names import BROADCAST_EXCHANGE, BROADCAST_QUEUE_PREFIX
from topology.declarations import BindingDeclaration, Declarations
from topology.model import Topology
from topology.plan import declarations

_MAX_QUESTION_BYTES = 64 * 1024


class Question(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where would this go? A task's name, or an exchange and a routing key."""

    task: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    exchange: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    routing_key: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    headers: dict[str, str | int | float | bool | None] = {}


_question = msgspec.json.Decoder(Question).decode


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [
        web.get("/v1/topology", topology),
        web.post("/v1/topology/route", route),
        web.get("/v1/queues", queues),
        web.post("/v1/broadcast", broadcast),
    ]


async def topology(request: web.Request) -> web.Response:
    """Exchanges, queues, bindings and task routes as declared; `?derived=true` for what follows.

    Derived are dead-letter queues, delay levels and their bindings.
    """
    require(request, "read")
    derived = request.query.get("derived", "false")
    if derived not in {"true", "false"}:
        raise invalid_request("?derived", "Expected true or false")
    layout = request.app[TOPOLOGY]
    body = _layout_json(layout)
    if derived == "true":
        body["derived"] = _derived_json(declarations(layout), layout)
    return _json(body)


async def route(request: web.Request) -> web.Response:
    """Explain where a message would go, and what is honoured there. Publishes nothing.

    Who hears broadcasts is known where the management API is configured.

    Raises:
        Problem: `unknown-task`, `unknown-exchange`, `invalid-request`, `metrics-unavailable`.
    """
    require(request, "read")
    check_json(request)
    layout = request.app[TOPOLOGY]
    question: Question = decode_with(
        _question, await request.app[INTAKE].bodies.read(request, _MAX_QUESTION_BYTES)
    )
    if (question.task is None) == (question.exchange is None):
        raise invalid_request("$", "Expected either task, or exchange and routing_key")
    told: dict[str, Any] = {}
    if question.task is not None:
        if question.routing_key is not None:
            raise invalid_request("$.routing_key", "Excludes task")
        found = layout.route(question.task)
        if found is None:
            raise Problem("unknown-task", no_route(question.task), queued="no")
        told = {
            "task": question.task,
            "route": found.task,
            "privileged": found.privileged,
            "announced": bool(request.app[SUBMITTING].catalog.announced(question.task)),
        }
        exchange, routing_key = found.exchange, found.routing_key
    else:
        exchange, routing_key = question.exchange or "", question.routing_key or ""
        if exchange and exchange not in layout.exchanges:
            raise Problem("unknown-exchange", no_exchange(exchange), queued="no")
    depths = request.app[BROKER].depths.depths
    consumers = {name: depths[name].consumers for name in layout.queues if name in depths}
    explanation = explain(layout, exchange, routing_key, question.headers)
    told |= explanation.to_json(layout, consumers, request.app[BROKER].publisher.rabbitmq_major)
    management = request.app[BROKER].management
    if exchange == BROADCAST_EXCHANGE and management is not None:
        _add_workers(told, await management.queues())
    return _json(told)


def _add_workers(told: dict[str, Any], figures: Mapping[str, QueueFigures]) -> None:
    """Add the queues that workers bind to the broadcast exchange themselves."""
    workers = [name for name in sorted(figures) if name.startswith(BROADCAST_QUEUE_PREFIX)]
    told["routable"] = told["routable"] or bool(workers)
    for name in workers:
        told["bindings"].append({"exchange": BROADCAST_EXCHANGE, "queue": name, "key": ""})
        consumers = figures[name].consumers
        row = {"name": name, "type": "classic", "priority": False, "consumers": consumers}
        told["queues"].append(row)


async def queues(request: web.Request) -> web.Response:
    """Every work queue; with figures when the management API is configured.

    Raises:
        Problem: `metrics-unavailable`: it is configured and does not answer.
    """
    require(request, "read")
    layout = request.app[TOPOLOGY]
    management = request.app[BROKER].management
    figures: dict[str, QueueFigures] | None = None
    if management is not None:
        figures = await management.queues()
    rows = []
    for name, queue in layout.queues.items():
        row: dict[str, Any] = {"name": name, "type": queue.type, "limit": queue.limit}
        if queue.max_priority is not None:
            row["max_priority"] = queue.max_priority
        row["full"] = request.app[BROKER].depths.full(name)
        if figures is not None and name in figures:
            row |= figures[name].to_json()
        if queue.dead_letter:
            dead = layout.dead_queue(name)
            row["dead_letter_queue"] = dead
            if figures is not None and dead in figures:
                row["dead_letters"] = figures[dead].messages_ready
        rows.append(row)
    return _json({"queues": rows})


async def broadcast(request: web.Request) -> web.Response:
    """Publish one task to every worker; 202 when RabbitMQ confirmed it for each of their queues."""
    caller = require(request, "admin")
    check_json(request)
    body = await request.app[INTAKE].bodies.read(request, request.app[SUBMITTING].max_task_bytes)
    submission = request.app[SUBMITTING].submission
    message = await submission.submit(body, caller, traceparent(request), EVERYWHERE)
    return _json(
        {
            "id": message.task_id,
            "task": message.task,
            "exchange": "broadcast",
            "tracked": False,
            "accepted_at": issued_at(message.task_id),
        },
        status=202,
    )


def _layout_json(layout: Topology) -> dict[str, Any]:
    return {
        "exchanges": [
            {
                "name": exchange.name,
                "type": exchange.type,
                "publishable": exchange.publishable,
                "arguments": exchange.arguments,
            }
            for exchange in layout.exchanges.values()
        ],
        "queues": [
            {
                "name": queue.name,
                "type": queue.type,
                "limit": queue.limit,
                "max_priority": queue.max_priority,
                "dead_letter_queue": layout.dead_queue(queue.name) if queue.dead_letter else None,
                "arguments": queue.arguments,
            }
            for queue in layout.queues.values()
        ],
        "bindings": [binding_json(binding) for binding in layout.bindings],
        "routes": [
            {
                "task": one.task,
                "exchange": one.exchange,
                "routing_key": one.routing_key,
                "privileged": one.privileged,
            }
            for one in layout.routes
        ],
    }


def _derived_json(plan: Declarations, layout: Topology) -> dict[str, Any]:
    def told(binding: BindingDeclaration) -> dict[str, Any]:
        return {
            "exchange": binding.source,
            binding.destination_type: binding.destination,
            "key": binding.key,
            "arguments": dict(binding.arguments),
        }

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
            told(one) for one in plan.bindings if (one.source, one.destination, one.key) not in own
        ],
    }


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(body), headers={"Content-Type": "application/json"}
    )
