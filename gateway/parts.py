"""The parts of a running gateway, as typed keys of the aiohttp application."""

from aiohttp import web

from gateway.config import GatewayConfig
from gateway.keyring import KeyRing
from gateway.metrics import Metrics
from gateway.publisher import Publisher
from gateway.task_id import TaskIds
from topology.model import Topology

CONFIG = web.AppKey("config", GatewayConfig)
TOPOLOGY = web.AppKey("topology", Topology)
TASK_IDS = web.AppKey("task_ids", TaskIds)
KEYRING = web.AppKey("keyring", KeyRing)
PUBLISHER = web.AppKey("publisher", Publisher)
METRICS = web.AppKey("metrics", Metrics)
