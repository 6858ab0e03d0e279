"""The examples, run by the commands of docs/celery-apps.md as they are printed."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devstack.ports import free_port
from devstack.product import ROOT
from devstack.programs import child_environment
from tests.support.waiting import eventually

pytestmark = [pytest.mark.bare_vhost, pytest.mark.timeout(600)]
OWN_ENVIRONMENT = pytest.mark.long
PAGE = ROOT / "docs/celery-apps.md"
INSTALL = re.compile(r"^python3 -m venv .*\n", re.MULTILINE)


def commands(name: str) -> str:
    found = re.search(
        rf"<!-- run by tests/e2e/test_examples.py: {name} -->\n```bash\n(.*?)```",
        PAGE.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found
    return found[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This tree, whose examples may be written to."""
    copied = ("examples", "penstock")  # pip builds the library there
    for one in ROOT.iterdir():
        if one.name not in (".git", "build", *copied):
            (tmp_path / one.name).symlink_to(one)
    for name in copied:
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@asynccontextmanager
async def typed(
    text: str, checkout: Path, amqp_url: str, redis_url: str, **env: str
) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Type commands, give the answer of the last and the gateway's address, then end all."""
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", f"{text}\necho\nwait".replace(":8080", f":{port}"),
        cwd=checkout,
        env=child_environment(
            AMQP_URL=amqp_url, REDIS_URL=redis_url, GATEWAY_PORT=str(port), PATH=path, **env
        ),
        stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert shell.stdout
    try:
        told = ""
        async with asyncio.timeout(300):
            async for line in shell.stdout:
                told += line.decode()
                if line.startswith(b'{"id"'):
                    break
        start = told.find('{"id"')
        assert start >= 0, told
        yield json.loads(told[start:]), f"http://localhost:{port}"
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        await asyncio.wait_for(shell.stdout.read(), 60)  # until all have ended
        await shell.wait()


async def test_a_plain_module(checkout: Path, amqp_url: str, redis_url: str):
    text = INSTALL.sub("", commands("plain"))  # Celery is here
    async with (
        typed(text, checkout, amqp_url, redis_url) as (told, url),
        aiohttp.ClientSession(url) as http,
    ):
        assert (told["state"], told["result"]) == ("SUCCESS", 80.0)
        async with http.post("/v1/tasks", json={"task": "shop.prize"}) as answer:
            assert (await answer.json())["code"] == "unknown-task"
        async with http.post("/v1/tasks", json={"task": "shop.ship", "args": ["x"]}) as answer:
            assert (await answer.json())["code"] == "invalid-arguments"


@OWN_ENVIRONMENT
async def test_a_plain_module_in_an_environment_of_its_own(
    checkout: Path, amqp_url: str, redis_url: str
):
    async with typed(commands("plain"), checkout, amqp_url, redis_url) as (told, _):
        assert (told["state"], told["result"]) == ("SUCCESS", 80.0)


@OWN_ENVIRONMENT
async def test_flask(checkout: Path, amqp_url: str, redis_url: str):
    async with typed(commands("flask_factory"), checkout, amqp_url, redis_url) as (told, url):
        assert (told["state"], told["result"]) == ("SUCCESS", "80.00 EUR")
        assert told["worker"]
        program = (
            "from make_celery import flask_app\n"
            "print(flask_app.test_client().post('/orders/50').json['id'])"
        )
        task_id = await run(checkout / "examples/flask_factory", program, amqp_url, redis_url)
        async with aiohttp.ClientSession(url) as http:
            assert (await ended(http, task_id))["result"] == "50.00 EUR"


@OWN_ENVIRONMENT
async def test_django(checkout: Path, amqp_url: str, redis_url: str):
    async with typed(commands("django_project"), checkout, amqp_url, redis_url) as (told, url):
        assert (told["state"], told["result"]) == ("SUCCESS", 80.0)
        assert told["worker"]
        program = (
            "import proj, django; django.setup(); from django.test import Client\n"
            "print(Client(SERVER_NAME='localhost').post('/orders/', {'amount': 5}).json()['order'])"
        )
        folder = checkout / "examples/django_project"
        order = await run(folder, program, amqp_url, redis_url)
        asked = (
            "import proj, django; django.setup(); from orders.models import Order\n"
            f"print(Order.objects.get(pk={order}).confirmed)"
        )

        async def confirmed() -> bool:
            return await run(folder, asked, amqp_url, redis_url) == "True"

        await eventually(confirmed, 60, 1)
        async with (
            aiohttp.ClientSession(url) as http,
            http.post(
                "/v1/tasks?wait=30", json={"task": "orders.tasks.confirm", "args": [int(order)]}
            ) as answer,
        ):
            assert (await answer.json())["result"] == f"order {order} confirmed"


async def run(folder: Path, program: str, amqp_url: str, redis_url: str) -> str:
    """Run a program in the environment of an example."""
    shell = await asyncio.create_subprocess_exec(
        folder / "env/bin/python", "-c", program, cwd=folder,
        env=child_environment(AMQP_URL=amqp_url, REDIS_URL=redis_url),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(shell.communicate(), 60)
    assert shell.returncode == 0
    return output.decode().split("\n")[-2]


async def ended(http: aiohttp.ClientSession, task_id: str) -> dict[str, Any]:
    """Wait for a task that Celery's client has submitted."""

    async def asked() -> dict[str, Any] | None:
        async with http.get(f"/v1/tasks/{task_id}") as answer:
            told: dict[str, Any] = await answer.json()
        return told if told.get("state") == "SUCCESS" else None

    found: dict[str, Any] = await eventually(asked, 30, 0.2)
    return found
