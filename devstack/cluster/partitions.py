"""The network between the nodes of a RabbitMQ cluster, which can be cut and stalled.

Erlang asks the port mapper (epmd) of its own host where another node listens. Here each node has a
port mapper of its own, in which the other nodes are registered with the ports of proxies:

    node 1 ── asks ──► epmd 1 ── node 2 is at ──► proxy 1→2 ──► node 2
"""

import asyncio
import contextlib
import itertools
import struct
from collections.abc import AsyncIterator, Sequence

from devstack.errors import StartError
from devstack.ports import LOOPBACK
from devstack.proxy import TcpProxy
from devstack.rabbit import Rabbit

_ALIVE2_REQ, _ALIVE2_X_RESP, _ALIVE2_RESP = 120, 118, 121
_NORMAL_NODE, _TCP = 77, 0
_HIGHEST, _LOWEST = 6, 5


class NodeNetwork:
    """Every way from one node to another.

    Args:
        nodes: Of one cluster, not yet started.
    """

    def __init__(self, nodes: Sequence[Rabbit]) -> None:
        self._nodes = nodes
        self._ways = {
            (here, there): TcpProxy(nodes[there].dist_port)
            for here, there in itertools.permutations(range(len(nodes)), 2)
        }
        self._registered: dict[tuple[int, int], asyncio.StreamWriter] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the port mappers and the proxies; nodes can then be started."""
        async with contextlib.AsyncExitStack() as ends:
            for way in self._ways.values():
                await ends.enter_async_context(way)
            ends.callback(self._forget)
            for place in range(len(self._nodes)):
                await self.register(place)
            yield

    async def register(self, place: int) -> None:
        """Tell the port mapper of a node where the others are, unless it knows.

        Raises:
            StartError: it refuses.
        """
        node = self._nodes[place]
        if not node.epmd.running:
            await node.start_epmd()
            for known in [way for way in self._registered if way[0] == place]:
                self._registered.pop(known).close()
        for way, proxy in self._ways.items():
            if way[0] == place and way not in self._registered:
                name = self._nodes[way[1]].node.partition("@")[0]
                self._registered[way] = await _register(node.epmd_port, name, proxy.port)

    def isolate(self, place: int) -> None:
        """Let nothing pass between a node and the others, and keep the connections open."""
        for way, proxy in self._ways.items():
            if place in way:
                proxy.stall()

    def cut(self, place: int) -> None:
        """Reset the connections between a node and the others, and refuse new ones."""
        for way, proxy in self._ways.items():
            if place in way:
                proxy.cut(refuse=True)

    def heal(self) -> None:
        """Let everything pass again. What a stalled connection held is lost with it."""
        for proxy in self._ways.values():
            proxy.resume()

    def _forget(self) -> None:
        for writer in self._registered.values():
            writer.close()


async def _register(epmd_port: int, name: str, port: int) -> asyncio.StreamWriter:
    """Register a node (ALIVE2_REQ of Erlang's distribution protocol).

    Returns:
        The connection, which must stay open as long as the node is to be known.

    Raises:
        StartError: the port mapper refuses.
    """
    reader, writer = await asyncio.open_connection(LOOPBACK, epmd_port)
    known = name.encode()
    request = struct.pack(
        f">BHBBHHH{len(known)}sH",
        _ALIVE2_REQ, port, _NORMAL_NODE, _TCP, _HIGHEST, _LOWEST, len(known), known, 0,
    )  # fmt: skip
    writer.write(struct.pack(">H", len(request)) + request)
    answer, result = await reader.readexactly(2)
    if answer not in (_ALIVE2_X_RESP, _ALIVE2_RESP) or result:
        writer.close()
        raise StartError(f"epmd on port {epmd_port} does not register {name}: {answer} {result}")
    return writer
