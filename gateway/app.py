"""The aiohttp application: its parts, their lifetimes, its routes."""

import asyncio
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from gateway.access.auth import CALLER
from gateway.access.idempotency import Idempotency
from gateway.access.kept_results import KeptResults
from gateway.access.keyring import KeyRing
from gateway.access.known_ids import KnownIds
from gateway.access.limits import Limits
from gateway.access.task_id import TaskIds
from gateway.access.tickets import Tickets
from gateway.api import (
    bulk,
    canvas,
    dashboard,
    dead_letters,
    ingest,
    openapi,
    operations,
    parts,
    queues,
    schedules,
    streams,
    submit,
    tasks,
)
from gateway.api.description.openapi import query_parameters
from gateway.api.front import front
from gateway.cancellation import stop
from gateway.canvas.canvas_submission import CanvasSubmission
from gateway.canvas.groups import Groups
from gateway.config import GatewayConfig
from gateway.endings.callback_events import CallbackEvents
from gateway.endings.callback_post import CallbackPost
from gateway.endings.callbacks import Callbacks
from gateway.endings.outcomes import Outcomes
from gateway.endings.revocation import Revocation
from gateway.http import expectations
from gateway.http.body import Bodies
from gateway.http.drain import Drain
from gateway.http.front_door import FrontDoor
from gateway.http.listener import Listener
from gateway.http.traits import OPEN, RouteTraits
from gateway.http.turns import Turns
from gateway.ingesting.batch_publisher import BatchPublisher
from gateway.ingesting.checker import DocumentChecker
from gateway.ingesting.group_commit import GroupCommit
from gateway.operating import gauges
from gateway.rabbitmq.control import Control
from gateway.rabbitmq.dead_letters import DeadLetters
from gateway.rabbitmq.management import Management
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.queue_depths import QueueDepths
from gateway.rabbitmq.undecodable import survive_undecodable
from gateway.redis.client import make_redis
from gateway.schedules.guard import ScheduleGuard
from gateway.schedules.schedules import Schedules
from gateway.sharing.held_bytes import HeldBytes
from gateway.states.states import States
from gateway.submitting.catalog import Catalog
from gateway.submitting.submission import Submission
from gateway.telemetry.metrics import Metrics
from gateway.watching.counts import Counts
from gateway.watching.stream_parts import StreamLimits, StreamParts
from gateway.watching.streams import Streams
from gateway.watching.viewers import Viewers
from gateway.watching.watch import Watch
from penstock.looper import Loops
from topology import layout

NOUNS = (
    submit,
    canvas,
    bulk,
    tasks,
    streams,
    ingest,
    schedules,
    queues,
    dead_letters,
    operations,
    openapi,
    dashboard,
)
"""Every module of `handlers`, in the order of the API's description."""


def make_app(config: GatewayConfig) -> web.Application:
    """A gateway, not yet connected to anything; serve it with aiohttp's decompression off.

    Args:
        config: With at least one signing key for task ids.

    Raises:
        TopologyError: The layout file is not valid.
    """
    survive_undecodable()
    app = web.Application(middlewares=[front], client_max_size=0)
    topology = layout.load(config.topology_file)
    origin = f"penstock@{socket.gethostname()}"
    app[parts.CONFIG] = config
    app[parts.TOPOLOGY] = topology
    app[parts.TASK_IDS] = TaskIds(config.task_id_keys)
    app[parts.DRAIN] = Drain()
    app[parts.FRONT_DOOR] = FrontDoor(config)
    app[parts.KEYRING] = KeyRing(config.keys_file)
    app[parts.METRICS] = Metrics(config.metrics_folder)
    app[parts.REDIS] = make_redis(config.redis_url)
    app[parts.TICKETS] = Tickets(config.task_id_keys, app[parts.KEYRING])
    counts = Counts(app[parts.METRICS])
    app[parts.STATES] = States(app[parts.REDIS], config.result_expires_s)
    app[parts.WATCH] = Watch(config.redis_url, app[parts.REDIS], app[parts.STATES], counts)
    app[parts.IDEMPOTENCY] = Idempotency(app[parts.REDIS], config.quotas.idempotency_bytes)
    app[parts.KEPT_RESULTS] = KeptResults(app[parts.REDIS], config.quotas.result_bytes)
    app[parts.LIMITS] = Limits(app[parts.REDIS])
    app[parts.TURNS] = Turns()
    app[parts.HELD] = HeldBytes(config.max_body_bytes_held)
    app[parts.BODIES] = Bodies(
        config.body_timeout_s,
        app[parts.HELD],
        app[parts.TURNS],
        lambda request: app[parts.KEYRING].holds(request[CALLER]),
    )
    app[parts.KNOWN_IDS] = KnownIds(app[parts.TASK_IDS], app[parts.KEYRING])
    _add_streams(app, counts)
    app[parts.CATALOG] = Catalog(app[parts.REDIS])
    app[parts.CONTROL] = Control(config.amqp_url)
    app[parts.REVOCATION] = Revocation(
        app[parts.REDIS],
        app[parts.STATES],
        app[parts.CONTROL],
        config.result_expires_s,
    )
    app[parts.DEPTHS] = QueueDepths(config.amqp_url, topology)
    app[parts.DEAD_LETTERS] = DeadLetters(config.amqp_url, topology)
    app[parts.MANAGEMENT] = (
        Management(config.management_url, config.amqp_url) if config.management_url else None
    )
    app[parts.PUBLISHER] = Publisher(config, topology, app[parts.METRICS].observe_publish)
    app[parts.CALLBACK_EVENTS] = CallbackEvents(
        app[parts.PUBLISHER], app[parts.REDIS], origin, config.quotas.callback_bytes
    )
    app[parts.CALLBACK_POST] = CallbackPost(config)
    app[parts.CALLBACKS] = Callbacks(
        config, app[parts.CALLBACK_EVENTS], app[parts.STATES], app[parts.CALLBACK_POST]
    )
    app[parts.OUTCOMES] = Outcomes(
        config.amqp_url, app[parts.REDIS], config.result_expires_s, app[parts.CALLBACK_EVENTS]
    )
    app[parts.SUBMISSION] = Submission(
        config,
        topology,
        app[parts.TASK_IDS],
        app[parts.CATALOG],
        app[parts.DEPTHS],
        app[parts.PUBLISHER],
        origin,
        app[parts.CALLBACK_EVENTS],
        app[parts.KEPT_RESULTS],
    )
    app[parts.SCHEDULES] = Schedules(app[parts.REDIS], config.quotas)
    app[parts.SCHEDULE_GUARD] = ScheduleGuard(
        app[parts.SCHEDULES], app[parts.KEYRING], app[parts.SUBMISSION]
    )
    app[parts.GROUPS] = Groups(app[parts.REDIS], app[parts.STATES], config.result_expires_s)
    app[parts.CANVAS] = CanvasSubmission(
        app[parts.SUBMISSION], app[parts.TASK_IDS], app[parts.GROUPS], app[parts.PUBLISHER]
    )
    gauges.register(
        app[parts.METRICS],
        topology,
        app[parts.PUBLISHER],
        app[parts.DEPTHS],
        app[parts.CATALOG],
        app[parts.STREAMS],
        app[parts.WATCH].notices,
    )
    app[parts.BATCHES] = BatchPublisher(
        config,
        topology,
        app[parts.TASK_IDS],
        app[parts.DEPTHS],
        app[parts.PUBLISHER],
        app[parts.HELD],
        origin,
        app[parts.KEPT_RESULTS],
    )
    app[parts.GROUP_COMMIT] = GroupCommit(app[parts.BATCHES])
    app[parts.CHECKER] = DocumentChecker(config.max_document_bytes)
    app[parts.LOOPS] = _loops(app)
    gauges.register_loops(app[parts.METRICS], app[parts.LOOPS])
    app.cleanup_ctx.extend((_redis, _management, _control, _publisher, _callback_post, _background))
    app.on_shutdown.append(_close_streams)
    app[parts.TRAITS] = _register(app.router, config)
    return app


def _add_streams(app: web.Application, counts: Counts) -> None:
    """Add what serves streams, and ends them when their key is gone."""
    app[parts.VIEWERS] = Viewers(
        app[parts.DRAIN], app[parts.KEYRING], app[parts.TICKETS], app[parts.KNOWN_IDS]
    )
    app[parts.STREAMS] = Streams(
        StreamParts(
            limits=StreamLimits(),
            counts=counts,
            watch=app[parts.WATCH],
            rates=app[parts.LIMITS],
            held=app[parts.HELD],
            turns=app[parts.TURNS],
        )
    )
    app[parts.KEYRING].on_change.append(app[parts.STREAMS].end_without_key)


def ready(app: web.Application) -> bool:
    """Whether an application can take submits: RabbitMQ is ready, the tasks of workers are read."""
    return app[parts.PUBLISHER].state == "ready" and app[parts.CATALOG].looked


def add_listener(app: web.Application, listener: Listener) -> None:
    """Count what listens among the loops and figures of an application."""
    app[parts.LOOPS].add(listener.looper)
    metrics = app[parts.METRICS]
    metrics.gauge("penstock_connections", "Open connections.", lambda: len(listener.connections))
    metrics.gauge(
        "penstock_connections_refused",
        "Connections turned away at the bound since the start.",
        lambda: listener.refused,
    )


def _register(router: web.UrlDispatcher, config: GatewayConfig) -> RouteTraits:
    """Register every route; what is special about each."""
    traits = RouteTraits()
    for noun in NOUNS:
        for route in noun.routes():
            if route.handler is operations.metrics and config.metrics_public:
                route.kwargs["traits"] = (OPEN,)
            traits.take(route)
            route.kwargs.setdefault("expect_handler", expectations.meet)
            for each in route.register(router):
                path = each.resource.canonical if each.resource is not None else ""
                traits.take_query(route.handler, query_parameters(route.method, path))
    return traits


async def _close_streams(app: web.Application) -> None:
    app[parts.STREAMS].close()


async def _redis(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[parts.REDIS].aclose()


async def _control(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[parts.CONTROL].close()


async def _management(app: web.Application) -> AsyncIterator[None]:
    yield
    management = app[parts.MANAGEMENT]
    if management is not None:
        await management.close()


async def _publisher(app: web.Application) -> AsyncIterator[None]:
    publisher = app[parts.PUBLISHER]
    await publisher.start()
    yield
    await publisher.close()


async def _callback_post(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[parts.CALLBACK_POST].close()


def _loops(app: web.Application) -> Loops:
    """Every loop of the application; the listener adds its own when it listens."""
    loops = Loops()
    publisher, board = app[parts.PUBLISHER], app[parts.METRICS].board
    for looper in (
        publisher.looper,
        publisher.sweeper,
        app[parts.KEYRING].looper,
        app[parts.WATCH].notices.looper,
        app[parts.STREAMS].looper,
        app[parts.OUTCOMES].consumer.looper,
        app[parts.CATALOG].looper,
        app[parts.DEPTHS].looper,
        app[parts.SCHEDULE_GUARD].looper,
        app[parts.KEPT_RESULTS].looper,
    ):
        loops.add(looper)
    if app[parts.CONFIG].callback_hosts:
        loops.add(app[parts.CALLBACKS].consumer.looper)
    if board is not None:
        loops.add(board.looper)
    return loops


async def _background(app: web.Application) -> AsyncIterator[None]:
    """Run every loop, each as a task of its name until the end; the publisher runs its own."""
    loops, publisher = app[parts.LOOPS], app[parts.PUBLISHER]
    loops.guard(asyncio.get_running_loop())
    tasks = [
        asyncio.create_task(looper.run(), name=looper.name)
        for looper in loops
        if looper not in (publisher.looper, publisher.sweeper)
    ]
    yield
    await stop(*tasks)
