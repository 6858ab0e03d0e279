"""A client and a worker of Celery in another language, on the queue of a gateway: celery-node."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devstack.children import Child
from devstack.programs import child_environment
from tests.conformance.conftest import NEWEST, Celery
from tests.deployment.gateway import Gateway

pytestmark = [
    pytest.mark.bare_vhost,
    pytest.mark.long,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("version", [NEWEST]),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs, with what they need."""
    folder = tmp_path_factory.mktemp("node") / "programs"
    shutil.copytree(Path(__file__).with_name("node"), folder)
    subprocess.run(["npm", "ci", "--silent"], cwd=folder, check=True, timeout=200)
    return folder


def environment(celery: Celery) -> dict[str, str]:
    return child_environment(
        AMQP_URL=celery.deployment.amqp_url,
        REDIS_URL=celery.deployment.redis_url,
        PATH=os.environ["PATH"],
    )


async def submitted(http: Gateway, task: str, *args: Any) -> Any:
    async with http.post("/v1/tasks?wait=30", json={"task": task, "args": args}) as answer:
        return await answer.json()


async def test_node_submits_beside_a_gateway(celery: Celery, http: Gateway, node: Path):
    async with celery.deployment.worker("threads", name="stock"):
        program = await asyncio.create_subprocess_exec(
            "node", "client.js", "golden.add", "2", "3", cwd=node, env=environment(celery),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(program.communicate(), 60)
        assert output.decode().strip() == "5"
        assert (await submitted(http, "golden.add", 4, 5))["result"] == 9


async def test_a_worker_in_node_executes_what_a_gateway_submits(
    celery: Celery, http: Gateway, node: Path, tmp_path: Path
):
    child = Child(
        "node", ["node", "worker.js"], log=tmp_path / "node.log", env=environment(celery), cwd=node
    )
    child.spawn()
    await celery.client("publish", {})  # the queue is declared
    try:
        told = await submitted(http, "golden.multiply", 6, 7)
        assert (told["state"], told["result"]) == ("SUCCESS", 42)
        assert (await submitted(http, "golden.wrong"))["state"] == "FAILURE"
    finally:
        await child.stop(5)
