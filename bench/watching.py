"""The processes of a streams measurement: the watching clients, and who changes states."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from bench.contestants import API_KEY
from bench.processes import SIGNING_KEYS
from devstack.errors import StartError
from devstack.product import ROOT
from gateway.access.task_id import TaskIds

TENANT = "bench"
_READY_WITHIN_S = 180.0


def issue(count: int, folder: Path, name: str) -> Path:
    """Write a file of ids that the gateway knows as its own, as if it had accepted the tasks."""
    ids = TaskIds(SIGNING_KEYS)
    file = folder / f"{name}.ids"
    file.write_text("\n".join(ids.issue(TENANT) for _ in range(count)))
    return file


class Watching:
    """Clients that are watching."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def outcome(self) -> dict[str, Any]:
        """Wait for the end of all tasks and return what the clients were told.

        Raises:
            StartError: They failed.
        """
        output, _ = await self._process.communicate()
        if not output:
            raise StartError("the watching clients failed")
        told: dict[str, Any] = json.loads(output.splitlines()[-1])
        return told

    def stop(self) -> None:
        """End them before their tasks did."""
        self._process.terminate()


@contextlib.asynccontextmanager
async def watching(
    kind: str, url: str, ids: Path, env: Mapping[str, str], *, timeout_s: float = 60.0
) -> AsyncIterator[Watching]:
    """Open one client for each id and wait until each has its first state.

    Raises:
        StartError: They did not get it.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.apps.watchers", kind, url, str(ids), f"{timeout_s:g}",
        env={**os.environ, **env, "PYTHONPATH": str(ROOT), "API_KEY": API_KEY},
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            line = await process.stdout.readline()
        if line.strip() != b"READY":
            raise StartError(f"the watching clients said {line!r}")
        yield Watching(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
