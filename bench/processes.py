"""Contestants as processes: started alike, on processors of their own when asked."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from bench.contestants import API_KEY, Contestant
from bench.peers import python_of
from bench.servers import Servers
from devstack.children import Child
from devstack.ports import LOOPBACK, free_port
from devstack.process import Process
from devstack.product import ROOT
from devstack.readiness import http_status

SIGNING_KEYS = ((0, bytes.fromhex("5eed" * 16)),)
"""Of the task ids of every gateway here."""


class Running:
    """A contestant that listens.

    Args:
        contestant: Who.
        servers: What it talks to.
        cpus: Processors that it may use, as taskset(1) takes them; empty: all.
        env: Further variables.
        root: The checkout whose code runs; None: this one.
    """

    def __init__(
        self,
        contestant: Contestant,
        servers: Servers,
        *,
        cpus: str = "",
        env: Mapping[str, str] | None = None,
        root: Path | None = None,
    ) -> None:
        self.contestant = contestant
        self.url = f"http://{LOOPBACK}:{(port := free_port())}"
        argv = _argv(contestant, port)
        ready = f"{self.url}/readyz" if contestant.kind == "gateway" else self.url
        child = Child(
            contestant.name,
            ["taskset", "-c", cpus, *argv] if cpus else argv,
            log=servers.folder / f"{contestant.name}-{port}.log",
            env={
                **os.environ,
                **servers.env,
                **contestant.env,
                **(_gateway_env(servers.folder, port) if contestant.kind == "gateway" else {}),
                **(env or {}),
                "PORT": str(port),
                "PYTHONPATH": str(root or ROOT),
            },
            cwd=root or ROOT,
        )

        async def probe() -> bool:
            status = await http_status(ready)
            return status == 200 if contestant.kind == "gateway" else status < 500

        self.process = Process(child, probe, stop_timeout_s=10.0)

    @property
    def pid(self) -> int:
        """Its process id; taskset replaces itself with the program."""
        return self.process.child.pid


def _argv(contestant: Contestant, port: int) -> list[str | Path]:
    python = python_of(contestant.venv)
    match contestant.kind:
        case "aiohttp" | "gateway":
            return [python, "-m", contestant.target]
        case "uvicorn":
            # uvicorn[standard]: uvloop and httptools, as its documentation recommends
            return [
                python, "-m", "uvicorn", contestant.target, "--host", LOOPBACK,
                "--port", str(port), "--no-access-log", "--log-level", "warning",
            ]  # fmt: skip
        case "flower":
            return [
                python, "-m", "celery", "-A", contestant.target, "flower",
                f"--address={LOOPBACK}", f"--port={port}", "--logging=warning",
            ]  # fmt: skip


def _gateway_env(folder: Path, port: int) -> dict[str, str]:
    """The gateway as in production: keys checked, metrics on, ids signed."""
    keys = folder / "keys.toml"
    digest = hashlib.sha256(API_KEY.encode()).hexdigest()
    keys.write_text(
        f'[[key]]\nname = "bench"\nsha256 = "{digest}"\n'
        'scopes = ["submit", "read", "ingest"]\ntasks = ["demo.*"]\n'
    )
    return {
        "GATEWAY_HOST": LOOPBACK,
        "GATEWAY_PORT": str(port),
        "GATEWAY_KEYS_FILE": str(keys),
        "TASK_ID_KEYS": ",".join(f"{number}:{key.hex()}" for number, key in SIGNING_KEYS),
    }
