"""How each process of Penstock is started, and when it is ready."""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from devstack.children import RUN_MARK, Child
from devstack.ports import LOOPBACK
from devstack.process import Process
from devstack.readiness import http_status
from penstock.wire.names import CALLBACKS_QUEUE

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: `gateway`, `tasks` and `topology` are imported from there."""

COROUTINE_QUEUES = ("coroutines", "mongo_queue", "periodic", "scripts")
"""Queues of coroutines: one process on the asyncio pool, which runs a function on a thread."""
COROUTINES = 200
"""How many of them run at once."""

_FLOWER_USER = "penstock"
FLOWER_PACKAGES = ROOT / ".venv/flower"
"""Its packages, which `devstack/bootstrap.sh` puts beside all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """One Celery worker."""

    name: str
    """Its node name is `<name>@<host>`, its part in a stack is called `worker-<name>`."""

    pool: Literal["asyncio", "threads", "prefork", "solo"]
    """Celery's pool, or ours for coroutines: see `celerys_pool`."""

    queues: tuple[str, ...]
    """What it consumes."""

    concurrency: int = 4
    """Tasks at once."""


CUSTOM_POOL = {"CELERY_CUSTOM_WORKER_POOL": "penstock.worker.asyncio_pool.pool:TaskPool"}
"""The variable by which Celery knows the asyncio pool."""


def celerys_pool(pool: str) -> str:
    """Return what a pool is called after `--pool`, where `CUSTOM_POOL` is in the environment."""
    return "custom" if pool == "asyncio" else pool


def workers_for(queues: Iterable[str]) -> tuple[WorkerSpec, ...]:
    """Return a worker per pool, so that one of them consumes every queue that is for workers."""
    names = tuple(name for name in queues if name != CALLBACKS_QUEUE)
    waiting = tuple(name for name in names if name in COROUTINE_QUEUES)
    rest = tuple(name for name in names if name not in COROUTINE_QUEUES)
    specs = (
        WorkerSpec(name="asyncio", pool="asyncio", queues=waiting, concurrency=COROUTINES),
        WorkerSpec(name="prefork", pool="prefork", queues=rest, concurrency=4),
    )
    return tuple(spec for spec in specs if spec.queues)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """Makes the processes, alike for `make run` and for tests."""

    env: Mapping[str, str] = field(repr=False)
    """Their environment: the servers' addresses and everything else they read."""

    logs: Path
    """Folder of their log files."""

    mark: str = RUN_MARK
    """See `Child`."""

    app: str = "tasks.worker"
    """Module of the Celery application."""

    python: str | Path = sys.executable
    """What runs them: another has another Celery."""

    def worker(self, spec: WorkerSpec) -> Process:
        """Return a Celery worker that has its events on."""
        child = self._celery(
            f"worker-{spec.name}",
            "worker",
            "--loglevel=info",
            "--task-events",
            f"--hostname={spec.name}@%h",
            f"--pool={celerys_pool(spec.pool)}",
            f"--concurrency={spec.concurrency}",
            f"--queues={','.join(spec.queues)}",
            **CUSTOM_POOL,
        )
        return Process(child, lambda: _has_logged(child, b" ready."))

    def beat(self) -> Process:
        """Return the scheduler of periodic tasks."""
        child = self._celery("beat", "beat", "--loglevel=info")
        return Process(child, lambda: _has_logged(child, b"beat: Starting"), stop_timeout_s=10.0)

    def flower(self, port: int, password: str, management_url: str) -> Process:
        """Return Flower behind a password, which stays out of the command line.

        Args:
            port: on loopback.
            password: of its user.
            management_url: RabbitMQ's management API, for its page of queues.
        """
        child = self._celery(
            "flower",
            "flower",
            f"--address={LOOPBACK}",
            f"--port={port}",
            "--logging=warning",
            FLOWER_BASIC_AUTH=f"{_FLOWER_USER}:{password}",
            FLOWER_BROKER_API=f"{management_url.partition('?')[0]}/api/",
            PYTHONPATH=os.pathsep.join(
                filter(None, (str(FLOWER_PACKAGES), self.env.get("PYTHONPATH")))
            ),
        )
        return Process(child, lambda: _answers(flower_url(port, password)), stop_timeout_s=5.0)

    def gateway(self, host: str, port: int, name: str = "gateway") -> Process:
        """Return the HTTP server."""
        env = {**self.env, "GATEWAY_HOST": host, "GATEWAY_PORT": str(port)}
        child = self._child(name, ["-m", "gateway"], env)
        return Process(child, lambda: _answers(f"{gateway_url(host, port)}/readyz"))

    def history(self, port: int) -> Process:
        """Return what writes history into MongoDB and answers the gateway's queries."""
        env = {**self.env, "HISTORY_HOST": LOOPBACK, "HISTORY_PORT": str(port)}
        child = self._child("history", ["-m", "history"], env)
        return Process(child, lambda: _answers(f"http://{LOOPBACK}:{port}/healthz"))

    def _celery(self, name: str, *arguments: str, **more: str) -> Child:
        argv = ["-m", "celery", "-A", self.app, *arguments]
        return self._child(name, argv, {**self.env, **more})

    def _child(self, name: str, argv: list[str], env: Mapping[str, str]) -> Child:
        return Child(
            name,
            [self.python, *argv],
            log=self.logs / f"{name}.log",
            env={**env, "PYTHONUNBUFFERED": "1"},
            cwd=ROOT,
            mark=self.mark,
        )


def gateway_url(host: str, port: int) -> str:
    """Return an address that reaches a server listening on that host, which may be a wildcard."""
    reachable = {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(host, host)  # noqa: S104
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def flower_url(port: int, password: str) -> str:
    """Return Flower's address, credentials included."""
    return f"http://{_FLOWER_USER}:{password}@{LOOPBACK}:{port}"


async def _has_logged(child: Child, text: bytes) -> bool:
    return text in child.logged()


async def _answers(url: str) -> bool:
    return await http_status(url) == 200
