"""The console tells states of every task that its key may read, whoever published it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devstack.children import RUN_MARK
from devstack.ports import LOOPBACK, free_port
from devstack.product import ROOT, Launcher, gateway_url
from devstack.programs import child_environment
from devstack.stack import Stack
from tests.browsing.console import call, console_page, submit
from tests.support.stream_client import Stream
from tests.support.waiting import eventually

KEYS = {"root": ("ops", ["admin"]), "acme": ("acme", ["submit", "read"])}
PUBLISH = """
import json
import sys
from tasks.worker import app
args, options = map(json.loads, sys.argv[2:])
print(app.tasks[sys.argv[1]].apply_async(args, **options).id)
"""


async def published(stack: Stack, task: str, *args: Any, **options: Any) -> str:
    """Publish a task as code of the application does, without the gateway; its id."""
    command = [sys.executable, "-c", PUBLISH, task, json.dumps(args), json.dumps(options)]
    program = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=child_environment(**stack.env), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(program.communicate(), 60)
    assert program.returncode == 0
    return output.decode().split()[-1]


@pytest.fixture
async def keyed(stack: Stack, tmp_path: Path) -> AsyncIterator[str]:
    """A second gateway of the stack, with keys: its address."""
    keys = tmp_path / "keys.toml"
    keys.write_text(
        "".join(
            f'[[key]]\nname = "{name}"\ntenant = "{tenant}"\nscopes = {scopes}\n'
            f'sha256 = "{sha256(name.encode()).hexdigest()}"\n'
            for name, (tenant, scopes) in KEYS.items()
        )
    )
    port = free_port()
    env = {**stack.env, "GATEWAY_KEYS_FILE": str(keys)}
    gateway = Launcher(env=env, logs=tmp_path, mark=RUN_MARK).gateway(LOOPBACK, port)
    await gateway.start()
    try:
        yield gateway_url(LOOPBACK, port)
    finally:
        await gateway.stop()


def session(url: str, key: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"})


async def test_an_admin_sees_every_tenants_tasks_change_and_others_keys_hear_of_their_own(
    stack, keyed
):
    async with console_page(keyed) as page, session(keyed, "acme") as acme:
        await page.open("/", online=False)
        await page.fill("#key", "root")
        await page.click("Use", "#key-row")
        await page.sees("connected", ".health")
        ids = []
        for publish in (
            lambda: submit(acme, "demo.progress", 50, 0.1),
            lambda: published(stack, "demo.progress", 50, 0.1),
        ):
            ids.append(task := await publish())

            async def known(task: str = task) -> bool:
                async with session(keyed, "root") as root, root.get(f"/v1/tasks/{task}") as answer:
                    return answer.status == 200

            await eventually(known, 10)
            await page.go(f"/tasks/{task}")
            await page.sees("No line of output yet")
            await page.sees("of 50", ".bar")
            await page.sees("SUCCESS", ".task-head", 20)

        [theirs, foreign] = ids
        text = (await call(acme, "POST", "/v1/tickets"))["ticket"]
        async with acme.ws_connect(f"/v1/stream?ticket={text}&ids={theirs},{foreign}") as socket:
            told = {one["id"]: one for one in await Stream(socket).take(2)}
        assert told[theirs]["state"] == "SUCCESS"
        assert told[foreign]["code"] == "unknown-task-id"


async def test_a_task_that_only_history_knows_is_followed_by_asking(stack, http, console):
    await console.open("/tasks?task=demo.echo&since=15m")

    async def waits(task: str) -> bool:
        async with http.get(f"/v1/tasks/{task}?with=request") as answer:
            return answer.status == 200 and (await answer.json())["state"] == "PENDING"

    listed = await published(stack, "demo.echo", "listed", countdown=6)
    await eventually(lambda: waits(listed), 5)
    row = f'[title="{listed}"]'
    state = f"document.querySelector('{row}')?.closest('.row').querySelector('.state').innerText"

    async def shows(wanted: str) -> bool:
        return bool(await console.page.run(f"{state} === '{wanted}'"))

    await eventually(lambda: shows("PENDING"), 5)
    await eventually(lambda: shows("SUCCESS"), 20)

    shown = await published(stack, "demo.echo", "shown", countdown=6)
    await eventually(lambda: waits(shown), 5)
    await console.go(f"/tasks/{shown}")
    await console.sees("PENDING", ".task-head", 5)
    await console.sees("SUCCESS", ".task-head", 20)
    await console.sees('"shown"')
