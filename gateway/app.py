"""The aiohttp application: capabilities put together, their lifetimes, the routes."""

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from gateway.access.auth import CALLER
from gateway.access.parts import Access
from gateway.api import (
    broadcast,
    bulk,
    canvas,
    catalog,
    console,
    dead_letters,
    failures,
    history,
    ingest,
    key,
    long_operations,
    openapi,
    operations,
    parts,
    problems,
    queues,
    retrying,
    routing,
    schedules,
    streams,
    submit,
    tasks,
    topology,
    workers,
)
from gateway.api.front import front
from gateway.api.operation import Operation, Served
from gateway.cancellation import stop
from gateway.canvas.parts import Canvases
from gateway.config import GatewayConfig
from gateway.endings.parts import Endings
from gateway.history.client import HistoryClient
from gateway.http.front_door import FrontDoor
from gateway.http.listener import Listener
from gateway.http.parts import Intake
from gateway.http.traits import RouteTraits
from gateway.ingesting.parts import Ingesting
from gateway.operating import gauges
from gateway.operating.parts import Operating
from gateway.rabbitmq.parts import Broker
from gateway.redis.client import make_redis
from gateway.schedules.parts import Scheduling
from gateway.states.reading import States
from gateway.submitting.parts import Submitting
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Spans
from gateway.watching.parts import Watching
from penstock.looper import Looper, Loops
from topology.layout import load as load_layout

_PARAMETER: Final = re.compile(r"\{(\w+)\}")

NOUNS = (
    submit,
    canvas,
    bulk,
    tasks,
    history,
    failures,
    retrying,
    streams,
    ingest,
    schedules,
    topology,
    routing,
    queues,
    broadcast,
    dead_letters,
    long_operations,
    workers,
    catalog,
    problems,
    key,
    operations,
    openapi,
    console,
)
"""Every module of `gateway.api` that has routes, in the order of the API's description."""


def make_app(config: GatewayConfig) -> web.Application:
    """Return a gateway, not yet connected to anything; serve it with aiohttp's decompression off.

    Args:
        config: With at least one signing key for task ids.

    Raises:
        TopologyError: The layout file is not valid.
    """
    app = web.Application(middlewares=[front], client_max_size=0)
    layout = load_layout(config.topology_file)
    metrics = Metrics(config.metrics_folder)
    spans = Spans() if config.tracing else None
    redis = make_redis(config.redis_url, config.result_key_prefix, config.redis_wait_replicas)
    access = Access.make(config, redis)
    intake = Intake.make(config, lambda request: access.keyring.holds(request[CALLER]))
    broker = Broker.make(config, layout, metrics.observe_publish)
    states = States(redis, config.result_expires_s)
    endings = Endings.make(config, layout, redis, states, broker, spans)
    submitting = Submitting.make(config, layout, redis, access, broker, endings)
    asking = HistoryClient(config.history_url, config.history_secret)
    watching = Watching.make(config, redis, states, access, intake, metrics)

    app[parts.CONFIG] = config
    app[parts.TOPOLOGY] = layout
    app[parts.REDIS] = redis
    app[parts.ACCESS] = access
    app[parts.INTAKE] = intake
    app[parts.BROKER] = broker
    app[parts.STATES] = states
    app[parts.ENDINGS] = endings
    app[parts.SUBMITTING] = submitting
    app[parts.WATCHING] = watching
    app[parts.HISTORY] = asking
    app[parts.INGESTING] = Ingesting.make(config, layout, access, broker, intake)
    app[parts.SCHEDULING] = Scheduling.make(
        config.quotas, redis, access.keyring, submitting.planner
    )
    kept = app[parts.SCHEDULING].schedules

    async def scheduling() -> tuple[bool, bool]:
        return await kept.beat_leads(), await kept.any()

    operating = app[parts.OPERATING] = Operating.make(
        layout, redis, access, broker, submitting, endings, states, scheduling, asking
    )
    app[parts.CANVASES] = Canvases.make(config, redis, states, access, submitting.submission)
    traits, app[parts.OPERATIONS] = _register(app.router, config)
    app[parts.FRONT] = parts.Front(
        metrics=metrics,
        drain=intake.drain,
        front_door=FrontDoor(config),
        traits=traits,
        keyring=access.keyring,
        limits=access.limits,
        access_log=AccessLog(enabled=config.access_log),
        spans=spans,
    )
    app[parts.LOOPS] = Loops()
    for looper in (*broker.own_loopers, *_loopers(app)):
        app[parts.LOOPS].add(looper)
    gauges.register(
        metrics,
        layout,
        broker,
        submitting.catalog,
        watching.streams,
        watching.watch.notices,
        lambda: operating.problems.redis_stores,
    )
    gauges.register_flows(metrics, layout, operating.flows, operating.figures)
    metrics.families(operating.counts.families)
    gauges.register_problems(metrics, lambda: operating.problems.now)
    gauges.register_history(metrics, submitting.accepted)
    gauges.register_loops(metrics, app[parts.LOOPS])
    app.cleanup_ctx.append(_running)
    app.on_shutdown.append(_close_streams)
    return app


def ready(app: web.Application) -> bool:
    """Whether an application can take submits: RabbitMQ is ready, the tasks of workers are read."""
    return app[parts.BROKER].publisher.state == "ready" and app[parts.SUBMITTING].catalog.looked


def add_listener(app: web.Application, listener: Listener) -> None:
    """Count what listens among the loops and figures of an application."""
    app[parts.LOOPS].add(listener.looper)
    listener.on_refused = app[parts.FRONT].access_log.refused
    metrics = app[parts.FRONT].metrics
    metrics.gauge("penstock_connections", "Open connections.", lambda: len(listener.connections))
    metrics.gauge(
        "penstock_connections_refused",
        "Connections turned away at the bound.",
        lambda: listener.refused,
        total=True,
    )


def _register(
    router: web.UrlDispatcher, config: GatewayConfig
) -> tuple[RouteTraits, tuple[Served, ...]]:
    """Register every route; return what the middleware and the description have to know of them."""
    traits, served = RouteTraits(), []
    for noun in NOUNS:
        for described in noun.routes():
            # aiohttp's own pattern of a part leaves out braces: a name may have them.
            path = _PARAMETER.sub(r"{\1:[^/]+}", described.path)
            route = web.RouteDef(described.method, path, described.handler, described.kwargs)
            operation: Operation = route.kwargs.pop("operation")
            if operation is operations.METRICS and config.metrics_public:
                operation = dataclasses.replace(operation, scope=None)
            is_api = route.path.startswith("/v1/")
            traits.take(route, operation.traits, operation.query_names if is_api else None)
            for each in route.register(router):
                path = each.resource.canonical if each.resource is not None else ""
                if each.method != "HEAD" and not path.startswith("/static/"):
                    served.append(Served(each.method, path, operation))
    return traits, tuple(served)


def _loopers(app: web.Application) -> tuple[Looper, ...]:
    """Return every loop that the application runs; the listener and the publisher run their own."""
    board = app[parts.FRONT].metrics.board
    return (
        *app[parts.ACCESS].loopers,
        *app[parts.BROKER].loopers,
        *app[parts.ENDINGS].loopers,
        *app[parts.SUBMITTING].loopers,
        *app[parts.SCHEDULING].loopers,
        *app[parts.OPERATING].loopers,
        *app[parts.WATCHING].loopers,
        *((board.looper,) if board is not None else ()),
    )


async def _running(app: web.Application) -> AsyncIterator[None]:
    """Start what runs beside requests; at the end stop it in reverse order."""
    app[parts.LOOPS].guard(asyncio.get_running_loop())
    async with contextlib.AsyncExitStack() as ends:
        ends.callback(app[parts.FRONT].access_log.hand_on)
        ends.push_async_callback(app[parts.REDIS].close)
        ends.push_async_callback(app[parts.HISTORY].close)
        await ends.enter_async_context(app[parts.BROKER].running())
        await ends.enter_async_context(app[parts.ENDINGS].running())
        loops = [asyncio.create_task(each.run(), name=each.name) for each in _loopers(app)]
        ends.push_async_callback(stop, *loops)
        ends.push_async_callback(app[parts.ENDINGS].finish)
        yield


async def _close_streams(app: web.Application) -> None:
    app[parts.WATCHING].streams.close()
    app[parts.WATCHING].watch.close()
