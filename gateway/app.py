"""The aiohttp application: its parts, their lifetimes, its routes."""

import logging
from collections.abc import AsyncIterator

from aiohttp import web

from gateway import parts
from gateway.config import GatewayConfig
from gateway.handlers import submit
from gateway.keyring import KeyRing
from gateway.metrics import Metrics
from gateway.middlewares import front
from gateway.publisher import Publisher
from gateway.task_id import TaskIds
from topology import layout

log = logging.getLogger(__name__)


def make_app(config: GatewayConfig) -> web.Application:
    """A gateway, not yet connected to anything.

    Args:
        config: With at least one signing key for task ids.

    Raises:
        TopologyError: The layout file is not valid.
    """
    app = web.Application(middlewares=[front], client_max_size=0)
    app[parts.CONFIG] = config
    app[parts.TOPOLOGY] = layout.load(config.topology_file)
    app[parts.TASK_IDS] = TaskIds(config.task_id_keys)
    app[parts.KEYRING] = KeyRing()
    app[parts.METRICS] = Metrics()
    app[parts.PUBLISHER] = Publisher(config, app[parts.TOPOLOGY])
    app.cleanup_ctx.append(_publisher)
    app.add_routes(submit.routes())
    return app


async def _publisher(app: web.Application) -> AsyncIterator[None]:
    publisher = app[parts.PUBLISHER]
    await publisher.start()
    yield
    await publisher.close()
