"""What a cluster loses: each fault breaks something, mends it, and returns when it is whole.

At most one server of a kind is away at a time: that is what a cluster of three is for.
"""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from devstack.cluster.rig import GATEWAYS, ClusterRig
from devstack.errors import StartError

AWAY_S = 20.0
PARTITION_S = 40.0
"""How long a node is silent: longer than the net tick of the rig, after which `pause_minority`
stops it."""
_TOGETHER_WITHIN_S = 120.0
_BACK_WITHIN_S = 60.0
_ASK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault has to work with."""

    rig: ClusterRig
    random: random.Random
    partition_s: float = PARTITION_S


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break things."""

    name: str
    strike: Callable[[Scene], Awaitable[None]]
    gap_s: float
    """For how long neither accepts nor executions may cease."""


async def _kill_node(scene: Scene) -> None:
    place = _some_node(scene)
    node = scene.rig.rabbit.nodes[place]
    await node.kill()
    await asyncio.sleep(AWAY_S)
    await node.start()
    await together(scene.rig)


async def _stop_node(scene: Scene) -> None:
    place = _some_node(scene)
    node = scene.rig.rabbit.nodes[place]
    await node.stop()
    await asyncio.sleep(AWAY_S / 4)
    await node.start()
    await together(scene.rig)


async def _roll_nodes(scene: Scene) -> None:
    for node in scene.rig.rabbit.nodes:
        await node.stop()
        await node.start()
        await together(scene.rig)


async def _isolate_node(scene: Scene) -> None:
    """Take a node away from everybody, in silence."""
    scene.rig.rabbit.isolate(_some_node(scene))
    try:
        await asyncio.sleep(scene.partition_s)
    finally:
        scene.rig.rabbit.heal()
    await together(scene.rig)


async def _cut_node(scene: Scene) -> None:
    """Cut a node off from the other nodes; clients still reach it."""
    scene.rig.rabbit.network.cut(_some_node(scene))
    try:
        await asyncio.sleep(AWAY_S)
    finally:
        scene.rig.rabbit.heal()
    await together(scene.rig)


async def _kill_primary(scene: Scene) -> None:
    mongo = scene.rig.mongo
    member = mongo.members[await mongo.primary()]
    await member.kill()
    await asyncio.sleep(AWAY_S / 2)
    await member.start()
    await mongo.primary()


async def _step_down(scene: Scene) -> None:
    await scene.rig.mongo.step_down()
    await scene.rig.mongo.primary()


async def _kill_gateway(scene: Scene) -> None:
    name = scene.random.choice(GATEWAYS)
    await scene.rig.parts[name].end(signal.SIGKILL, _BACK_WITHIN_S)


async def _roll_gateways(scene: Scene) -> None:
    for name in GATEWAYS:
        await scene.rig.parts[name].end(signal.SIGTERM, _BACK_WITHIN_S)


async def _kill_worker(scene: Scene) -> None:
    workers = [name for name in scene.rig.parts if name not in GATEWAYS]
    await scene.rig.parts[scene.random.choice(workers)].end(signal.SIGKILL, _BACK_WITHIN_S)


def _some_node(scene: Scene) -> int:
    return scene.random.randrange(len(scene.rig.rabbit.nodes))


async def together(rig: ClusterRig) -> None:
    """Wait until every node of RabbitMQ runs and knows the others, and every queue has a leader.

    Raises:
        StartError: they do not come together.
    """
    try:
        async with asyncio.timeout(_TOGETHER_WITHIN_S):
            while not await _are_together(rig):  # noqa: ASYNC110  # nobody tells us
                await asyncio.sleep(_ASK_EVERY_S)
    except TimeoutError:
        raise StartError(f"the nodes are apart after {_TOGETHER_WITHIN_S:g} s") from None


async def _are_together(rig: ClusterRig) -> bool:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            for rabbit in rig.rabbit.rabbits:
                async with session.get(f"{rabbit.management_url}/api/nodes") as response:
                    nodes = await response.json()
                if sum(bool(node.get("running")) for node in nodes) < len(rig.rabbit.rabbits):
                    return False
                if any(node.get("partitions") for node in nodes):
                    return False
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return False
    return True


_ALL = (
    Fault("kill-node", _kill_node, 10),
    Fault("stop-node", _stop_node, 5),
    Fault("roll-nodes", _roll_nodes, 5),
    Fault("isolate-node", _isolate_node, 25),
    Fault("cut-node", _cut_node, 15),
    Fault("kill-primary", _kill_primary, 20),
    Fault("step-down", _step_down, 10),
    Fault("kill-gateway", _kill_gateway, 5),
    Fault("roll-gateways", _roll_gateways, 5),
    Fault("kill-worker", _kill_worker, 10),
)
FAULTS = {fault.name: fault for fault in _ALL}
"""Every fault by its name."""
