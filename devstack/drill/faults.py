"""What can break: each fault breaks something, holds it, heals it, and then returns."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from devstack.drill.load import SubmitLoad
from devstack.drill.narrow import fill_narrow
from devstack.drill.poison import publish_foreign, publish_poison
from devstack.drill.receipts import Ledger
from devstack.drill.rig import BUSY_WORKERS, GATEWAYS, PREFORK, WORKERS, Rig
from devstack.drill.stock.layout import worker_of
from devstack.proxy import Direction, TcpProxy

HEARTBEAT_S = 10
STALL_S = 2.5 * HEARTBEAT_S
"""Longer than twice the heartbeat, after which a silent AMQP connection is given up."""
_LOW_WATERMARK = "0.00001"
_USUAL_WATERMARK = "0.4"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault has to work with."""

    rig: Rig
    ledger: Ledger
    load: SubmitLoad
    random: random.Random


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break things."""

    name: str
    strike: Callable[[Scene], Awaitable[None]]
    touches: frozenset[str]
    """Parts that no other fault may break at the same time."""
    long: bool = False
    """Whether it lasts; two such ones are broken together rather than one after the other."""


async def _killed(scene: Scene, name: str) -> None:
    """`kill -9` a part and wait until the supervisor has it back."""
    await scene.rig.end(name, signal.SIGKILL)


async def _rolled(scene: Scene, names: tuple[str, ...]) -> None:
    """End parts in order, one after the other, each back before the next goes."""
    for name in names:
        await scene.rig.end(name, signal.SIGTERM)


def _kill(*names: str) -> Callable[[Scene], Awaitable[None]]:
    async def strike(scene: Scene) -> None:
        await _killed(scene, scene.random.choice(names))

    return strike


async def _kill_child(scene: Scene) -> None:
    """`kill -9` half of the processes of each prefork pool: some of them are at work."""
    for name in PREFORK:
        children = _children(scene.rig.parts[name].child.pid)
        for child in scene.random.sample(children, len(children) // 2):
            os.kill(child, signal.SIGKILL)


def _children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split()]


async def _roll_gateways(scene: Scene) -> None:
    await _rolled(scene, GATEWAYS)


async def _roll_workers(scene: Scene) -> None:
    await _rolled(scene, WORKERS)


def _some(scene: Scene, service: str) -> list[TcpProxy]:
    """One way to a server, or all of them."""
    proxies = scene.rig.through(service)
    return proxies if scene.random.random() < 0.4 else [scene.random.choice(proxies)]


def _cut(service: str) -> Callable[[Scene], Awaitable[None]]:
    async def strike(scene: Scene) -> None:
        for proxy in _some(scene, service):
            proxy.cut()

    return strike


def _refuse(service: str) -> Callable[[Scene], Awaitable[None]]:
    async def strike(scene: Scene) -> None:
        proxies = _some(scene, service)
        for proxy in proxies:
            proxy.cut(refuse=True)
        try:
            await asyncio.sleep(scene.random.uniform(3, 10))
        finally:
            for proxy in proxies:
                proxy.resume()

    return strike


def _stall(service: str) -> Callable[[Scene], Awaitable[None]]:
    async def strike(scene: Scene) -> None:
        proxies = _some(scene, service)
        directions = scene.random.choice([(), (Direction.TO_CLIENT,), (Direction.TO_SERVER,)])
        for proxy in proxies:
            proxy.stall(*directions)
        try:
            await asyncio.sleep(STALL_S)
        finally:
            for proxy in proxies:
                proxy.resume()

    return strike


def _cut_after(service: str) -> Callable[[Scene], Awaitable[None]]:
    async def strike(scene: Scene) -> None:
        proxies = _some(scene, service)
        for proxy in proxies:
            direction = scene.random.choice(list(Direction))
            proxy.cut_after(int(10 ** scene.random.uniform(1, 5.5)), direction)
        try:
            await asyncio.sleep(3)
        finally:
            for proxy in proxies:
                proxy.resume()

    return strike


async def _memory_alarm(scene: Scene) -> None:
    await scene.rig.rabbitmqctl("set_vm_memory_high_watermark", _LOW_WATERMARK)
    try:
        await asyncio.sleep(scene.random.uniform(3, 9))
    finally:
        await scene.rig.rabbitmqctl("set_vm_memory_high_watermark", _USUAL_WATERMARK)


async def _poison(scene: Scene) -> None:
    await publish_poison(scene.rig, scene.ledger)


async def _foreign(scene: Scene) -> None:
    await publish_foreign(scene.rig, scene.ledger)


async def _crash(scene: Scene) -> None:
    await scene.load.submit("crash")


async def _full_queue(scene: Scene) -> None:
    await fill_narrow(scene.rig, scene.ledger, scene.load)


def _fault(
    name: str, strike: Callable[[Scene], Awaitable[None]], *touches: str, long: bool = False
) -> Fault:
    return Fault(name, strike, frozenset(touches), long)


_ALL = (
    _fault("kill-rabbitmq", _kill("rabbitmq"), "amqp"),
    _fault("kill-redis", _kill("redis"), "redis"),
    _fault("kill-mongo", _kill("mongo"), "mongo"),
    _fault("kill-worker", _kill(*BUSY_WORKERS), "workers"),
    _fault("kill-child", _kill_child, "workers"),
    _fault("kill-beat", _kill("beat"), "beat"),
    _fault("kill-history", _kill("history"), "history"),
    _fault("kill-gateway", _kill(*GATEWAYS), "gateways"),
    *(
        _fault(f"{name}-{service}", make(service), service, long=name == "stall")
        for service in ("amqp", "redis", "mongo")
        for name, make in (
            ("cut", _cut), ("refuse", _refuse), ("stall", _stall), ("cutafter", _cut_after),
        )
    ),
    _fault("memory-alarm", _memory_alarm, "amqp"),
    _fault("full-queue", _full_queue, "amqp", "redis", "mongo", "workers", "gateways"),
    _fault("poison", _poison, "amqp"),
    _fault("foreign", _foreign, "amqp"),
    _fault("crash-task", _crash, "workers"),
    _fault("roll-gateways", _roll_gateways, "gateways"),
    _fault("roll-workers", _roll_workers, "workers", long=True),
)  # fmt: skip
FAULTS = {fault.name: fault for fault in _ALL}
"""Every fault by its name."""


def _stock(scene: Scene) -> tuple[str, ...]:
    return tuple(name for name in scene.rig.parts if name.startswith(worker_of("")))


async def _kill_stock(scene: Scene) -> None:
    await _killed(scene, scene.random.choice(_stock(scene)))


async def _kill_stock_child(scene: Scene) -> None:
    for name in _stock(scene):
        children = _children(scene.rig.parts[name].child.pid)
        os.kill(scene.random.choice(children), signal.SIGKILL)


async def _roll_stock(scene: Scene) -> None:
    await _rolled(scene, _stock(scene))


STOCK_FAULTS = {
    fault.name: fault
    for fault in (
        _fault("kill-stock-worker", _kill_stock, "workers"),
        _fault("kill-stock-child", _kill_stock_child, "workers"),
        _fault("roll-stock-workers", _roll_stock, "workers", long=True),
    )
}
"""What breaks where workers of stock Celery are."""
