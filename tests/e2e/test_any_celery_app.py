"""The wheel `celery-penstock` beside the `tasks.py` of a stranger, in clean environments."""

import asyncio
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from devstack.children import Child
from devstack.process import Process
from devstack.product import CUSTOM_POOL, ROOT, celerys_pool
from devstack.programs import child_environment
from penstock.wire.announcements import CATALOG_KEY
from tests.deployment.gateway import running_gateway
from tests.support.waiting import eventually

LAYOUT = """
extends = "default"

[queues.proj]
bindings = [{ exchange = "tasks", key = "proj" }]

[[routes]]
task = "proj.*"
exchange = "tasks"
routing_key = "proj"
"""

TASKS = """
import os

from celery import shared_task
from penstock import Penstock, TaskContext

app = Penstock("proj", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.task_default_queue = "proj"


@app.task(name="proj.add")
def add(x: int, y: int) -> int:
    return x + y


@shared_task(name="proj.greet")
async def greet(context: TaskContext, name: str) -> str:
    await context.progress(1, 2, "half")
    return f"{name} {context.task_id}"
"""

CLIENT = "from tasks import add; print(add.delay(2, 3).get(timeout=20))"
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


async def run(*command: str | Path, folder: Path, **env: str) -> str:
    """Run a program to its end and return what it printed."""
    program = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=folder, env=child_environment(**env),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(program.communicate(), 300)
    assert program.returncode == 0, output.decode()
    return output.decode()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is built from: building leaves files behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "penstock", source / "penstock")
    return source


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.bare_vhost
@pytest.mark.parametrize("celery", ["5.5.*", "5.7.*"])
async def test_a_strangers_app_is_submitted_to_and_announced(
    built: Path, celery: str, amqp_url: str, redis_url: str, tmp_path: Path
):
    python, project = tmp_path / "env/bin/python", tmp_path / "project"
    project.mkdir()
    (project / "tasks.py").write_text(TASKS)
    (project / "layout.toml").write_text(LAYOUT)
    await run(sys.executable, "-m", "venv", tmp_path / "env", folder=tmp_path)
    await run(python, *PIP, f"celery[redis]=={celery}", built, folder=tmp_path)
    urls = {"AMQP_URL": amqp_url, "REDIS_URL": redis_url}
    where = await run(python, "-c", "import penstock; print(penstock.__file__)", folder=project)
    assert where.startswith(str(tmp_path / "env"))

    layout = project / "layout.toml"
    async with running_gateway(
        amqp_url=amqp_url, redis_url=redis_url, topology_file=layout
    ) as http:
        checked = await run(
            tmp_path / "env/bin/penstock", "check", "-A", "tasks", folder=project, **urls
        )
        assert "FAULT" not in checked
        assert "proj.greet(name: str) is a coroutine" in checked

        for pool in ("prefork", "asyncio"):
            command = [str(python), "-m", "celery", "-A", "tasks", "worker", "-l", "info"]
            command += ["-P", celerys_pool(pool)]
            log, env = tmp_path / f"{pool}.log", child_environment(**urls, **CUSTOM_POOL)
            child = Child("worker", command, log=log, env=env, cwd=project)
            worker = Process(child, logged(child, b" ready."))
            try:
                await worker.start()
                await is_whole(http, child, redis_url)
                sent = await run(python, "-c", CLIENT, folder=project, **urls)
                assert sent.strip() == "5"
            finally:
                await child.stop(10)


async def is_whole(http: Any, child: Child, redis_url: str) -> None:
    """A worker that announces its tasks, executes both kinds, and has arguments checked."""
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        entries = {entry["task"]: entry for entry in map(json.loads, redis.hvals(CATALOG_KEY))}
    assert {name: entry["coroutine"] for name, entry in entries.items()} == {
        "proj.add": False, "proj.greet": True
    }  # fmt: skip

    for task, args in (("add", [2, 3]), ("greet", ["you"])):
        answer = await http.post("/v1/tasks?wait=20", json={"task": f"proj.{task}", "args": args})
        body = await answer.json()
        assert body["state"] == "SUCCESS", f"{body}\n{child.log_tail()}"
        assert body["result"] == (5 if task == "add" else f"you {body['id']}")

    async def refused() -> bool:
        """Once the gateway has read what the worker announced."""
        async with http.post("/v1/tasks", json={"task": "proj.add", "args": ["two", 3]}) as answer:
            return answer.status == 422

    await eventually(refused)


def logged(child: Child, text: bytes) -> Callable[[], Any]:
    async def ready() -> bool:
        return text in child.logged()

    return ready
