"""The parts of a running gateway, as typed keys of the aiohttp application, from bottom to top.

Each key holds one capability: its parts and its loops stand in its own folder, in `parts.py`.
Only this folder and `gateway.app` look anything up by these keys.
"""

from dataclasses import dataclass

from aiohttp import web

from gateway.access.keyring import KeyRing
from gateway.access.limits import Limits
from gateway.access.parts import Access
from gateway.api.operation import Served
from gateway.canvas.parts import Canvases
from gateway.config import GatewayConfig
from gateway.endings.parts import Endings
from gateway.history.client import HistoryClient
from gateway.http.drain import Drain
from gateway.http.front_door import FrontDoor
from gateway.http.parts import Intake
from gateway.http.traits import RouteTraits
from gateway.ingesting.parts import Ingesting
from gateway.operating.parts import Operating
from gateway.rabbitmq.parts import Broker
from gateway.redis.client import RedisClient
from gateway.schedules.parts import Scheduling
from gateway.states.reading import States
from gateway.submitting.parts import Submitting
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Spans
from gateway.watching.parts import Watching
from penstock.looper import Loops
from topology.model import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What every request passes: one look-up in the middleware."""

    metrics: Metrics
    drain: Drain
    front_door: FrontDoor
    traits: RouteTraits
    keyring: KeyRing
    limits: Limits
    access_log: AccessLog
    spans: Spans | None
    """None: tracing is off."""


CONFIG = web.AppKey("config", GatewayConfig)
TOPOLOGY = web.AppKey("topology", Topology)
FRONT = web.AppKey("front", Front)
INTAKE = web.AppKey("intake", Intake)
REDIS = web.AppKey("redis", RedisClient)
ACCESS = web.AppKey("access", Access)
BROKER = web.AppKey("broker", Broker)
STATES = web.AppKey("states", States)
ENDINGS = web.AppKey("endings", Endings)
SUBMITTING = web.AppKey("submitting", Submitting)
CANVASES = web.AppKey("canvases", Canvases)
INGESTING = web.AppKey("ingesting", Ingesting)
SCHEDULING = web.AppKey("scheduling", Scheduling)
OPERATING = web.AppKey("operating", Operating)
HISTORY = web.AppKey("history", HistoryClient)
WATCHING = web.AppKey("watching", Watching)
LOOPS = web.AppKey("loops", Loops)
OPERATIONS: web.AppKey[tuple[Served, ...]] = web.AppKey("operations")
"""What the routes say of themselves, in the order of the API's description."""
