"""Penstock past one machine: clusters of each server, two gateways behind HAProxy, workers.

clients ─► HAProxy ─► gateway-1, gateway-2 ─┬─► RabbitMQ 1, 2, 3   (through a proxy each)
                                            ├─► Redis
           a worker of each pool ───────────┴─► MongoDB 1, 2, 3

Gateways and workers are started again when they end. Servers are not: who breaks one mends it.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika
import aiohttp

from devstack.balancers import Balancer
from devstack.children import RUN_MARK
from devstack.cluster.rabbit_cluster import NET_TICK_S, RabbitCluster
from devstack.cluster.replica_set import ReplicaSet
from devstack.credentials import Credentials
from devstack.ports import LOOPBACK, free_port
from devstack.process import Part
from devstack.product import Launcher, WorkerSpec, gateway_url
from devstack.programs import haproxy_or_none
from devstack.redis_server import Redis
from devstack.stack import own_environment
from devstack.supervisor import Supervisor
from penstock.wire.hosts import each_host
from penstock.wire.names import CALLBACKS_QUEUE
from topology.declare import declare
from topology.layout import load_from_env
from topology.model import Topology

GATEWAYS = ("gateway-1", "gateway-2")
POOLS = ("asyncio", "prefork", "threads")
_CONCURRENCY = 4


@dataclass(kw_only=True)
class ClusterRig:
    """The running clusters, and what runs on them."""

    rabbit: RabbitCluster
    redis: Redis
    mongo: ReplicaSet
    balancer: Balancer | None
    """None where HAProxy is not installed."""
    parts: Mapping[str, Part]
    """Gateways and workers by name."""
    topology: Topology
    gateways: tuple[str, ...]
    """Addresses, in the order of `GATEWAYS`."""
    env: Mapping[str, str] = field(repr=False)
    """The environment of our processes."""
    said: list[str] = field(default_factory=list)
    """What the supervisor said."""

    @property
    def url(self) -> str:
        """Where clients send requests."""
        return self.balancer.url if self.balancer is not None else self.gateways[0]

    async def leaders(self) -> dict[str, str]:
        """Return the node of each quorum queue's leader, or of each classic queue."""
        url = f"{self.rabbit.management_url}/api/queues"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return {
                queue["name"]: str(queue.get("leader") or queue.get("node"))
                for queue in await response.json()
            }


@contextlib.asynccontextmanager
async def running_cluster(
    folder: Path,
    tell: Callable[[str, str], None],
    *,
    env: Mapping[str, str] | None = None,
    app: str = "tasks.worker",
    pools: Iterable[str] = POOLS,
    mark: str = RUN_MARK,
    net_tick_s: int = NET_TICK_S,
) -> AsyncIterator[ClusterRig]:
    """Start everything, keep our processes alive, and stop it at the end.

    Args:
        folder: Data and logs.
        tell: Called with a part's name and what happens to it.
        env: Variables for our processes.
        app: Module of the Celery application.
        pools: A worker of each consumes every queue.
        mark: See `Child`.
        net_tick_s: See `RabbitCluster`.

    Raises:
        StartError: a part did not become ready.
    """
    logs = folder / "logs"
    rabbit = RabbitCluster(folder / "rabbitmq", logs, mark=mark, net_tick_s=net_tick_s)
    mongo = ReplicaSet(folder / "mongo", logs, mark=mark)
    redis = Redis(folder / "redis", log=logs / "redis.log", mark=mark)
    async with contextlib.AsyncExitStack() as ends:
        tell("servers", "starting")
        for cluster in (mongo, rabbit):
            await ends.enter_async_context(cluster.running())
        ends.push_async_callback(redis.kill)
        await redis.start()
        addresses = {
            "AMQP_URL": rabbit.url,
            "REDIS_URL": redis.url,
            "MONGO_URL": mongo.url,
            "RABBITMQ_MANAGEMENT_URL": rabbit.management_url,
        }
        environment = own_environment(os.environ, addresses, Credentials(), env or {})
        topology = load_from_env(environment)
        async with await aio_pika.connect(each_host(rabbit.direct_url)[0]) as connection:
            await declare(connection, topology)
        tell("servers", "ready")
        ports = [free_port() for _ in GATEWAYS]
        launcher = Launcher(env=environment, logs=logs, mark=mark, app=app)
        parts = _parts(launcher, topology, ports, pools)
        for part in parts.values():
            ends.push_async_callback(part.stop)
        await asyncio.gather(*(part.start() for part in parts.values()))
        balancer = None
        if haproxy_or_none() is not None:
            balancer = Balancer(folder / "haproxy", ports, log=logs / "haproxy.log", mark=mark)
            ends.push_async_callback(balancer.kill)
            await balancer.start()
        tell("gateways and workers", "ready")
        rig = ClusterRig(
            rabbit=rabbit,
            redis=redis,
            mongo=mongo,
            balancer=balancer,
            parts=parts,
            topology=topology,
            gateways=tuple(gateway_url(LOOPBACK, port) for port in ports),
            env=environment,
        )
        keeper = asyncio.create_task(Supervisor(parts, rig.said.append).run(), name="supervisor")
        ends.push_async_callback(_end, keeper)
        yield rig


def _parts(
    launcher: Launcher, topology: Topology, ports: Iterable[int], pools: Iterable[str]
) -> dict[str, Part]:
    queues = tuple(name for name in topology.queues if name != CALLBACKS_QUEUE)
    units = [
        launcher.worker(
            WorkerSpec(name=pool, pool=pool, queues=queues, concurrency=_CONCURRENCY)  # type: ignore[arg-type]  # one of POOLS
        )
        for pool in pools
    ]
    units += [
        launcher.gateway(LOOPBACK, port, name) for name, port in zip(GATEWAYS, ports, strict=True)
    ]
    return {unit.child.name: Part(unit) for unit in units}


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
