"""Servers, workers and a gateway together: what `make run` runs and what e2e tests talk to."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import aio_pika

from devstack.children import RUN_MARK
from devstack.credentials import Credentials
from devstack.errors import StartError
from devstack.mongo import Mongo
from devstack.ports import LOOPBACK, free_port
from devstack.process import Unit
from devstack.product import Launcher, WorkerSpec, flower_url, gateway_url, workers_for
from devstack.rabbit_container import rabbit_for
from devstack.redis_server import Redis
from topology.declare import declare
from topology.layout import load_from_env

REDIS_MAXMEMORY = "4gb"
"""Unless the environment has it; some five million small tasks that ended, of 776 octets each."""
_ADDRESSES = ("AMQP_URL", "REDIS_URL", "MONGO_URL", "RABBITMQ_MANAGEMENT_URL", "GATEWAY_URL")
_HISTORYS = ("HISTORY_URL", "HISTORY_SECRET")


class Ports(Protocol):
    """Where port numbers come from: a `PortBook`, or free ones."""

    def port(self, name: str) -> int:
        """Return the port of that name."""


class FreePorts:
    """Another free port each time."""

    def port(self, name: str) -> int:  # noqa: ARG002  (see `Ports`)
        """Return a free port."""
        return free_port()


def _ignore(_name: str, _state: str) -> None:
    """Tell nobody."""


class Stack:
    """Everything of one machine, as children of this process.

    An async context manager; `start` and `stop` do the same. Parts are named `rabbitmq`, `redis`,
    `mongo`, `history`, `worker-<name>`, `beat`, `flower` and `gateway`, in the order of `units`.

    Args:
        folder: Data (`rabbitmq/`, `redis/`, `mongo/`) and `logs/`; used again, it continues.
        workers: The workers; by default one per pool, for every queue of the topology.
        gateway: Whether to start the HTTP server.
        history: Whether to keep history, with a process of its own.
        beat: Whether to start the scheduler of periodic tasks.
        flower: Whether to start Flower.
        env: Variables for our processes, over those of this process.
        host: Address that the gateway listens on.
        port: Its port; by default another one from `ports`.
        ports: Where ports come from.
        credentials: Passwords and keys; those of the first start when the folder is used again.
        mark: See `Child`.
        tell: Called with a part's name and `starting`, `ready`, `stopping` or `stopped`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: Iterable[WorkerSpec] | None = None,
        gateway: bool = True,
        history: bool = False,
        beat: bool = False,
        flower: bool = False,
        env: Mapping[str, str] | None = None,
        host: str = LOOPBACK,
        port: int | None = None,
        ports: Ports | None = None,
        credentials: Credentials | None = None,
        mark: str = RUN_MARK,
        tell: Callable[[str, str], None] = _ignore,
    ) -> None:
        ports = ports or FreePorts()
        keys = credentials or Credentials()
        logs = folder / "logs"
        self._tell = tell
        self.rabbit = rabbit_for(
            os.environ.get("RABBITMQ_IMAGE"),
            folder / "rabbitmq",
            ports={name: ports.port(name) for name in ("amqp", "management", "dist", "epmd")},
            password=keys.rabbitmq,
            log=logs / "rabbitmq.log",
            mark=mark,
        )
        self.redis = Redis(
            folder / "redis",
            port=ports.port("redis"),
            password=keys.redis,
            log=logs / "redis.log",
            mark=mark,
            maxmemory=os.environ.get("REDIS_MAXMEMORY") or REDIS_MAXMEMORY,
        )
        self.mongo = Mongo(
            folder / "mongo", port=ports.port("mongo"), log=logs / "mongo.log", mark=mark
        )
        port = port or ports.port("gateway")
        self.env = self._environment(env or {}, keys, gateway_url(host, port))
        if history:
            history_port = ports.port("history")
            self.env |= {
                "HISTORY_URL": f"http://{LOOPBACK}:{history_port}",
                "HISTORY_SECRET": sha256(f"history {keys.task_id_keys}".encode()).hexdigest(),
            }
        """The environment of our processes: addresses, keys, and what this process was given."""
        self.topology = load_from_env(self.env)
        launcher = Launcher(env=self.env, logs=logs, mark=mark)
        if workers is None:
            queues = self.topology.queues.items()
            workers = workers_for(name for name, queue in queues if queue.ours)
        self.units: dict[str, Unit] = {
            unit.child.name: unit for unit in (self.rabbit, self.redis, self.mongo)
        }
        """All parts by name, in the order of their start."""
        self.servers = tuple(self.units)
        if history:
            self._add(launcher.history(history_port))
        for spec in workers:
            self._add(launcher.worker(spec))
        if beat:
            self._add(launcher.beat())
        if flower:
            flower_port = ports.port("flower")
            pages = self.env["RABBITMQ_MANAGEMENT_URL"]
            self._add(launcher.flower(flower_port, keys.flower, pages))
            self.env["FLOWER_URL"] = flower_url(flower_port, keys.flower)
        if gateway:
            self._add(launcher.gateway(host, port))

    async def __aenter__(self) -> Self:
        """Start everything."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything."""
        await self.stop()

    @property
    def gateway_url(self) -> str:
        """Where the gateway listens."""
        return self.env["GATEWAY_URL"]

    @property
    def amqp_url(self) -> str:
        """RabbitMQ."""
        return self.env["AMQP_URL"]

    @property
    def redis_url(self) -> str:
        """Redis, database 0."""
        return self.env["REDIS_URL"]

    @property
    def mongo_url(self) -> str:
        """MongoDB and the database that documents go to."""
        return self.env["MONGO_URL"]

    @property
    def management_url(self) -> str:
        """RabbitMQ's management API."""
        return self.env["RABBITMQ_MANAGEMENT_URL"]

    async def start(self) -> None:
        """Start the servers, declare the topology, start the rest; each waits until it is ready.

        Raises:
            StartError: a part did not become ready; what had started is stopped again.
        """
        try:
            await self._together(self._start_one, self.servers)
            await self.declare_topology()
            flower = [name for name in self._processes() if name == "flower"]
            await self._together(
                self._start_one, (name for name in self._processes() if name not in flower)
            )
            await self._together(self._start_one, flower)  # it asks the workers once, at its start
        except BaseException:
            await self.stop()
            raise

    async def declare_topology(self) -> None:
        """Declare exchanges, queues and bindings; what exists stays as it is."""
        async with await aio_pika.connect(self.amqp_url) as connection:
            await declare(connection, self.topology)

    async def stop(self) -> None:
        """Stop everything in order: what takes work in, what executes it, what keeps it."""
        if "gateway" in self.units:
            await self._stop_one("gateway")
        await self._together(self._stop_one, self._processes())
        await self._together(self._stop_one, self.servers)

    async def kill(self, name: str) -> None:
        """`kill -9` one part."""
        await self.units[name].kill()

    async def start_part(self, name: str) -> None:
        """Start one part that was killed or stopped, on its data and address."""
        await self.units[name].start()

    async def stop_part(self, name: str) -> None:
        """Stop one part in order."""
        await self.units[name].stop()

    async def restart(self, name: str) -> None:
        """`kill -9` one part and start it again."""
        await self.kill(name)
        await self.start_part(name)

    async def revive(self) -> None:
        """Start every part that is dead, servers first."""
        for name, unit in self.units.items():
            if not unit.child.running:
                await self.start_part(name)

    def _add(self, unit: Unit) -> None:
        self.units[unit.child.name] = unit

    def _processes(self) -> tuple[str, ...]:
        return tuple(name for name in self.units if name not in self.servers)

    def _environment(
        self, given: Mapping[str, str], keys: Credentials, gateway: str
    ) -> dict[str, str]:
        addresses = {
            "AMQP_URL": self.rabbit.url,
            "REDIS_URL": self.redis.url,
            "MONGO_URL": self.mongo.url,
            "RABBITMQ_MANAGEMENT_URL": self.rabbit.management_url,
            "GATEWAY_URL": gateway,
        }
        return own_environment(os.environ, addresses, keys, given)

    async def _start_one(self, name: str) -> None:
        self._tell(name, "starting")
        await self.units[name].start()
        self._tell(name, "ready")

    async def _stop_one(self, name: str) -> None:
        unit = self.units[name]
        if unit.child.running:
            self._tell(name, "stopping")
        await unit.stop()

    @staticmethod
    async def _together(do: Callable[[str], Awaitable[None]], names: Iterable[str]) -> None:
        outcomes = await asyncio.gather(*(do(name) for name in names), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if refused := [error for error in failures if isinstance(error, StartError)]:
            raise StartError("\n".join(str(error) for error in refused))
        if failures:
            raise failures[0]


def own_environment(
    inherited: Mapping[str, str],
    addresses: Mapping[str, str],
    keys: Credentials,
    given: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment of our processes: addresses, keys, and what this process was given.

    Args:
        inherited: Of this process; addresses of other servers are left out, in a file or plain.
        addresses: By variable.
        keys: Where `inherited` has none.
        given: Over all others.
    """
    secret = {
        "TASK_ID_KEYS": keys.task_id_keys,
        "CALLBACK_SECRET": sha256(f"callbacks {keys.task_id_keys}".encode()).hexdigest(),
    }
    ours = {
        name: value
        for name, value in secret.items()
        if not (inherited.get(name) or inherited.get(f"{name}_FILE"))
    }
    kept = {
        name: value
        for name, value in inherited.items()
        if name.removesuffix("_FILE") not in (*_ADDRESSES, *_HISTORYS)
    }
    return {**kept, **addresses, **ours, **given}
