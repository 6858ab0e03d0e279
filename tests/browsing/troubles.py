"""A deployment as an operator finds it in the morning: each thing that may be wrong, once."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from devstack.otlp import Receiver, receiving
from devstack.product import workers_for
from devstack.stack import Stack
from history.config import HistoryConfig
from history.database import Database
from tests.apps.imports_app import BROKEN
from tests.browsing.console import call, state, submit
from tests.support.history_documents import counted
from tests.support.waiting import eventually
from topology.layout import load

ADMIN, READER = "pk_walk_admin", "pk_walk_reader"
FAILED = 12
"""Imports of yesterday."""
_LAYOUT = """
extends = "default"

[queues.nightly]
limit = 20
bindings = [{ exchange = "tasks", key = "nightly" }]

[[routes]]
task = "imports.*"
exchange = "tasks"
routing_key = "default"
"""
"""No worker consumes the queue `nightly`, which is soon full."""


@dataclass
class Troubled:
    """The deployment, and the tasks in it that something is wrong with."""

    folder: Path
    url: str
    receiver: Receiver
    """Of its traces."""
    stack: Stack
    stuck: str = ""
    paused: str = ""
    slow: str = ""
    runaway: str = ""
    unwanted: str = ""

    @property
    def _flag(self) -> Path:
        return self.folder / "broken"

    def mend_feed(self) -> None:
        """Mend what made the imports fail: outside of the console."""
        self._flag.unlink(missing_ok=True)


@asynccontextmanager
async def troubled(folder: Path) -> AsyncIterator[Troubled]:
    """Start everything, and have everything go wrong."""
    layout, keys, flag = folder / "layout.toml", folder / "keys.toml", folder / "broken"
    layout.write_text(_LAYOUT, encoding="utf-8")
    keys.write_text(_keys(), encoding="utf-8")
    flag.touch()
    async with receiving() as receiver:
        env = {
            "TOPOLOGY_FILE": str(layout),
            "GATEWAY_KEYS_FILE": str(keys),
            "PENSTOCK_TASKS": "tests.apps.imports_app",
            BROKEN: str(flag),
            "TRACING": "1",
            "TRACE_URL": f"{receiver.url}/trace/{{trace_id}}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }
        shipped = load(layout).queues.items()
        names = [name for name, queue in shipped if queue.ours and name != "nightly"]
        stack = Stack(folder, workers=workers_for(names), history=True, beat=True, env=env)
        async with stack:
            found = Troubled(folder, stack.gateway_url, receiver, stack)
            headers = {"Authorization": f"Bearer {ADMIN}"}
            async with aiohttp.ClientSession(stack.gateway_url, headers=headers) as http:
                await _trouble(found, http)
            yield found


async def _trouble(found: Troubled, http: aiohttp.ClientSession) -> None:
    imports = [await submit(http, "imports.prices", "feeds/prices.csv", n) for n in range(FAILED)]
    for one in imports:
        assert await state(http, one, 30) == "FAILURE"
    await _were_yesterday(found.stack, imports)
    assert await state(http, await submit(http, "imports.prices", "feeds/new.csv", 0), 30)
    assert await state(http, await submit(http, "imports.order", "Ada", -5.0), 30)
    found.slow = await submit(http, "demo.flaky", 2)
    bodies = [{"task": "demo.add", "args": [n, 2]} for n in range(20)]
    for queue, name in (("ranked", "paused"), ("nightly", "stuck"), ("high_priority", "unwanted")):
        if queue != "nightly":
            await call(http, "POST", f"/v1/queues/{queue}/pause")
        many = bodies * (2 if name == "unwanted" else 1)
        sent = [{**one, "options": {"queue": queue}} for one in many]
        ids = [one["id"] for one in await call(http, "POST", "/v1/tasks/bulk", sent)]
        setattr(found, name, ids[-1])
    nightly = {"task": "demo.add", "args": [1, 2], "crontab": {"minute": "15", "hour": "3"}}
    await call(http, "PUT", "/v1/schedules/nightly%20prices", nightly)
    found.runaway = await submit(http, "demo.progress", 5000, 0.5)
    assert await state(http, found.slow, 30) == "SUCCESS"


async def _were_yesterday(stack: Stack, ids: list[str]) -> None:
    """Move failures in history to the noon of yesterday."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    noon -= timedelta(days=1)
    history = Database(stack.mongo_url, HistoryConfig.from_env(stack.env).database)
    where = {"_id": {"$in": ids}, "state": "FAILURE"}

    async def written() -> bool:
        return await history.tasks.count_documents(where) == len(ids)

    await eventually(written, 30)
    for minute, one in enumerate(ids):
        at = noon + timedelta(minutes=minute)
        times = {"at": at, "accepted_at": at, "ended_at": at + timedelta(seconds=1)}
        await history.tasks.update_one({"_id": one}, {"$set": times})
    moved = await history.tasks.find(where).to_list(None)
    await history.failures.delete_many({"_id.failure": moved[0]["failure"]})
    await history.failures.insert_many(counted(moved))


def _keys() -> str:
    return "".join(
        f'[[key]]\nname = "{name}"\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n'
        f'tenant = "shop"\nscopes = {scopes}\n'
        for name, key, scopes in (
            ("operator", ADMIN, ["submit", "read", "ingest", "schedule", "admin"]),
            ("reader", READER, ["read"]),
        )
    )
