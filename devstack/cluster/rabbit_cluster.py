"""RabbitMQ as a cluster of three nodes, which clients reach through proxies."""

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from devstack.children import RUN_MARK, Child
from devstack.cluster.partitions import NodeNetwork
from devstack.errors import StartError
from devstack.ports import LOOPBACK
from devstack.proxy import TcpProxy
from devstack.rabbit import Rabbit
from devstack.rabbit_container import neighbour_for

_USER = "penstock"
SIZE = 3
NET_TICK_S = 12
"""A node that vanished without a word is found out within 15 s, not 75, as without it."""
_SETTINGS = ("cluster_partition_handling = pause_minority", "queue_leader_locator = balanced")
"""What `docs/clusters.md` advises, besides the net tick."""


class ClusterNode:
    """One node, with the interface of `Rabbit` that a stack knows.

    Args:
        rabbit: The server.
        network: Tells its port mapper where the others are.
        place: Which of them it is.
    """

    def __init__(self, rabbit: Rabbit, network: NodeNetwork, place: int) -> None:
        self.rabbit = rabbit
        self.child: Child = rabbit.child
        self._network = network
        self._place = place

    async def start(self) -> None:
        """Start it and wait until it answers; it comes back into its cluster.

        Raises:
            StartError: it did not become ready.
        """
        await self._network.register(self._place)
        await self.rabbit.start(timeout_s=120.0)

    async def stop(self) -> None:
        """Stop it in order; its port mapper goes on."""
        await self.child.stop(timeout_s=40.0)

    async def kill(self) -> None:
        """`kill -9` it; its port mapper goes on."""
        await self.rabbit.kill()


class RabbitCluster:
    """Three nodes with `pause_minority`, of the image `RABBITMQ_IMAGE` if that is set.

    Args:
        folder: Data, configuration and logs of all of them.
        logs: Folder of their logs.
        mark: See `Child`.
        net_tick_s: How long a node may be silent before the others count it as gone, about.
    """

    def __init__(
        self,
        folder: Path,
        logs: Path,
        *,
        mark: str = RUN_MARK,
        net_tick_s: int = NET_TICK_S,
    ) -> None:
        cookie, self._password = secrets.token_hex(16), secrets.token_urlsafe(18)
        settings = [*_SETTINGS, f"net_ticktime = {net_tick_s}"]
        self.rabbits = [
            neighbour_for(
                os.environ.get("RABBITMQ_IMAGE"),
                folder / str(number),
                user=_USER,
                password=self._password,
                log=logs / f"rabbitmq-{number}.log",
                mark=mark,
                name=f"rabbitmq-{number}",
                node=f"penstock-{number}",
                cookie=cookie,
                settings=settings if number == 1 else [*settings, *_joining(number)],
            )
            for number in range(1, SIZE + 1)
        ]
        self.network = NodeNetwork(self.rabbits)
        self.nodes = [
            ClusterNode(rabbit, self.network, place) for place, rabbit in enumerate(self.rabbits)
        ]
        self.ways = [TcpProxy(rabbit.port) for rabbit in self.rabbits]
        """From clients to each node."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Form the cluster; what still runs at the end is killed.

        Raises:
            StartError: it did not form.
        """
        async with contextlib.AsyncExitStack() as ends:
            for way in self.ways:
                await ends.enter_async_context(way)
            for rabbit in self.rabbits:
                ends.push_async_callback(rabbit.epmd.kill)
                ends.push_async_callback(rabbit.kill)
            await ends.enter_async_context(self.network.running())
            for node in self.nodes:  # those that join find the first one running
                await node.start()
            yield

    @property
    def url(self) -> str:
        """Address of all nodes, through the proxies."""
        return self._address([way.port for way in self.ways])

    @property
    def direct_url(self) -> str:
        """Address of all nodes, past the proxies."""
        return self._address([rabbit.port for rabbit in self.rabbits])

    def url_of(self, place: int) -> str:
        """Address of one node, through its proxy."""
        return self._address([self.ways[place].port])

    @property
    def management_url(self) -> str:
        """Management API of a node that runs.

        Raises:
            StartError: none does.
        """
        for rabbit in self.rabbits:
            if rabbit.child.running:
                return rabbit.management_url
        raise StartError("no node of the cluster runs")

    def isolate(self, place: int) -> None:
        """Take a node away from the others and from the clients; connections stay open."""
        self.network.isolate(place)
        self.ways[place].stall()

    def heal(self) -> None:
        """End every partition. Connections that were stalled are reset: TCP would do so later."""
        self.network.heal()
        for way in self.ways:
            way.resume()

    def _address(self, ports: list[int]) -> str:
        credentials = f"{_USER}:{quote(self._password, safe='')}"
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in ports)
        return f"amqp://{credentials}@{hosts}/"


def _joining(number: int) -> list[str]:
    """Have a node join the first one; RabbitMQ 4 wants to find itself among those it may join."""
    return [
        f"cluster_formation.classic_config.nodes.{place} = penstock-{one}@localhost"
        for place, one in enumerate((1, number), 1)
    ]
