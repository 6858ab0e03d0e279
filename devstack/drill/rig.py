"""The stack that a drill breaks, with a TCP proxy on every way to a server.

gateway-a, gateway-b ──┬─ proxy ─► RabbitMQ ◄─ proxy ─┬── worker-asyncio, worker-narrow
                       └─ proxy ─► Redis    ◄─ proxy ─┼── worker-one, worker-two (prefork)
                                   MongoDB  ◄─ proxy ─┴── beat, history
"""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from devstack.drill.records import Servers
from devstack.drill.stock.layout import RUNS_FILE, SLOTS, python, queue_of, tables, worker_of
from devstack.ports import LOOPBACK, free_port
from devstack.process import Part, Unit
from devstack.product import COROUTINE_QUEUES, Launcher, WorkerSpec, gateway_url
from devstack.proxy import TcpProxy
from devstack.stack import Stack
from devstack.supervisor import Supervisor
from topology.layout import DEFAULT_LAYOUT

GATEWAYS = ("gateway-a", "gateway-b")
PREFORK = ("worker-one", "worker-two")
BUSY_WORKERS = (*PREFORK, "worker-asyncio")
WORKERS = (*BUSY_WORKERS, "worker-narrow")
NARROW_LIMIT = 30
"""Messages in the queue `narrow` from which the gateway refuses; the broker does at ten times."""
BACK_WITHIN_S = 120.0
"""From its end to its new start. A worker that is told to stop while RabbitMQ is silent ends when
the stall does (25 s), and two busy cores take as long again to start one."""

CALLED_BACK = {"CALLBACK_HOSTS": LOOPBACK, "CALLBACK_ALLOW_PRIVATE": "1"}

_ASYNCIO_QUEUES = (*COROUTINE_QUEUES, "high_priority")
_COROUTINES = 40
"""As many tasks meet at the end, and each looks at where the others are."""
_NARROW_QUEUE = "narrow"
_GATEWAYS_QUEUE = "callbacks"
_LAYOUT = f"""
[queues.narrow]
limit = {NARROW_LIMIT}
bindings = [{{ exchange = "tasks", key = "narrow" }}]

[[routes]]
task = "drill.*"
exchange = "tasks"
routing_key = "default"
"""


@dataclass(kw_only=True)
class Rig:
    """The running stack."""

    stack: Stack
    parts: Mapping[str, Part]
    proxies: Mapping[str, TcpProxy]
    """`gateway-amqp`, `gateway-redis`, `worker-amqp`, `worker-redis`, `worker-mongo`."""
    gateways: tuple[str, ...]
    """Addresses, in the order of `GATEWAYS`."""
    slots: Mapping[str, int]
    """How many tasks run at a time from the first queue of each worker."""
    said: list[str] = field(default_factory=list)
    """What the supervisor said."""

    @property
    def servers(self) -> Servers:
        """The servers themselves."""
        stack = self.stack
        return Servers(
            amqp_url=stack.rabbit.url,
            management_url=stack.rabbit.management_url,
            redis_url=stack.redis.url,
            mongo_url=stack.mongo.url,
            topology=stack.topology,
        )

    def through(self, service: str) -> list[TcpProxy]:
        """Return the proxies in front of one server."""
        return [proxy for name, proxy in self.proxies.items() if name.endswith(service)]

    async def end(self, name: str, number: signal.Signals) -> None:
        """End a part with a signal, and wait until the supervisor has it back.

        Raises:
            StartError: it did not come back.
        """
        await self.parts[name].end(number, BACK_WITHIN_S)

    async def rabbitmq_version(self) -> str:
        """Ask RabbitMQ which it is."""
        url = f"{self.stack.rabbit.management_url}/api/overview"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return str((await response.json())["rabbitmq_version"])

    async def rabbitmqctl(self, *arguments: str) -> None:
        """Run one command of RabbitMQ's; it starts an Erlang VM, which takes a second."""
        process = await asyncio.create_subprocess_exec(
            *self.stack.rabbit.ctl(*arguments),
            env=self.stack.rabbit.child.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await asyncio.wait_for(process.wait(), BACK_WITHIN_S)


@contextlib.asynccontextmanager
async def running_rig(
    folder: Path,
    tell: Callable[[str, str], None],
    stock: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Rig]:
    """Start everything, keep it alive, and stop it at the end.

    Args:
        folder: Data and logs.
        tell: Called with a part's name and what happens to it.
        stock: Versions of stock Celery whose workers consume queues of their own.
        env: Further variables of our processes.

    Raises:
        StartError: a part did not become ready.
    """
    layout = drill_layout(folder, stock)
    stack = Stack(
        folder,
        workers=(),
        gateway=False,
        history=True,
        env={"TOPOLOGY_FILE": str(layout), **CALLED_BACK, **(env or {})},
        tell=tell,
    )
    async with contextlib.AsyncExitStack() as exits:
        proxies = {
            name: await exits.enter_async_context(TcpProxy(port))
            for name, port in {
                "gateway-amqp": stack.rabbit.port,
                "gateway-redis": stack.redis.port,
                "worker-amqp": stack.rabbit.port,
                "worker-redis": stack.redis.port,
                "worker-mongo": stack.mongo.port,
            }.items()
        }
        ports = tuple(free_port() for _ in GATEWAYS)
        specs = _workers(name for name, queue in stack.topology.queues.items() if queue.ours)
        _add_processes(stack, proxies, ports, specs, folder / "logs")
        _add_stock(stack, proxies, stock, folder)
        parts = {name: Part(unit) for name, unit in stack.units.items()}
        stack.units = dict(parts)
        rig = Rig(
            stack=stack,
            parts=parts,
            proxies=proxies,
            gateways=tuple(gateway_url(LOOPBACK, port) for port in ports),
            slots=_slots(specs),
        )
        await exits.enter_async_context(stack)
        supervisor = asyncio.create_task(
            Supervisor(stack.units, rig.said.append, [stack.rabbit.epmd]).run(),
            name="drill supervisor",
        )
        exits.push_async_callback(_end, supervisor)
        await stack.rabbit.settle()
        yield rig


def _workers(queues: Iterable[str]) -> tuple[WorkerSpec, ...]:
    no_rest = {*_ASYNCIO_QUEUES, _NARROW_QUEUE, _GATEWAYS_QUEUE}
    rest = tuple(name for name in queues if name not in no_rest)
    return (
        WorkerSpec(name="one", pool="prefork", queues=rest),
        WorkerSpec(name="two", pool="prefork", queues=rest),
        WorkerSpec(name="asyncio", pool="asyncio", queues=_ASYNCIO_QUEUES, concurrency=_COROUTINES),
        WorkerSpec(name="narrow", pool="asyncio", queues=(_NARROW_QUEUE,), concurrency=2),
    )


def _slots(specs: Iterable[WorkerSpec]) -> Mapping[str, int]:
    """Return the slots of the workers by the first of their queues."""
    slots: Counter[str] = Counter()
    for spec in specs:
        slots[spec.queues[0]] += spec.concurrency
    return slots


def drill_layout(folder: Path, stock: Iterable[str] = ()) -> Path:
    """Write the layout that ships, with a queue that is soon full and the route of the tasks.

    Args:
        folder: Where to.
        stock: Versions of stock Celery that have queues of their own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    layout = folder / "topology.toml"
    shipped = DEFAULT_LAYOUT.read_text(encoding="utf-8")
    layout.write_text(shipped + _LAYOUT + tables(stock), encoding="utf-8")
    return layout


def _add_processes(
    stack: Stack,
    proxies: Mapping[str, TcpProxy],
    ports: tuple[int, ...],
    specs: Iterable[WorkerSpec],
    logs: Path,
) -> None:
    """Add our processes to the stack, each with addresses that lead through the proxies."""
    workers = Launcher(env=_env(stack, proxies, "worker"), logs=logs, app="devstack.drill.worker")
    gateways = Launcher(env=_env(stack, proxies, "gateway"), logs=logs)
    units: dict[str, Unit] = {}
    for spec in specs:
        worker = workers.worker(spec)
        units[worker.child.name] = worker
    units["beat"] = workers.beat()
    units["history"] = workers.history(urlsplit(stack.env["HISTORY_URL"]).port or 0)
    for name, port in zip(GATEWAYS, ports, strict=True):
        units[name] = gateways.gateway(LOOPBACK, port, name)
    stack.units |= units


def _add_stock(
    stack: Stack, proxies: Mapping[str, TcpProxy], versions: Iterable[str], folder: Path
) -> None:
    """Add the worker of each version of stock Celery."""
    for version in versions:
        queue = queue_of(version)
        launcher = Launcher(
            env={
                **_env(stack, proxies, "worker"),
                "STOCK_QUEUE": queue,
                "RUNS_FILE": str(folder / RUNS_FILE),
            },
            logs=folder / "logs",
            app="devstack.drill.stock.app",
            python=python(version),
        )
        spec = WorkerSpec(name=queue, pool="prefork", queues=(queue,), concurrency=SLOTS)
        stack.units[worker_of(version)] = launcher.worker(spec)


def _env(stack: Stack, proxies: Mapping[str, TcpProxy], side: str) -> dict[str, str]:
    """Return the environment of our processes, whose ways to the servers lead through proxies."""
    servers = {
        "AMQP_URL": ("amqp", stack.amqp_url),
        "REDIS_URL": ("redis", stack.redis_url),
        "MONGO_URL": ("mongo", stack.mongo_url),
    }
    through = {
        name: proxies[f"{side}-{service}"].url_through(url)
        for name, (service, url) in servers.items()
        if f"{side}-{service}" in proxies
    }
    return {**stack.env, **through}


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
