"""Celery's own ways of working stay usable."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from celery import Celery
from kombu.connection import Connection

from devstack.children import Child
from devstack.product import ROOT
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

CLIENT = """
import json, sys
from celery import chain, chord, group
from tests.apps.tasks_core_app import app
add, total = app.tasks["demo.add"], app.tasks["demo.test_total"]
print(json.dumps([
    app.send_task("demo.add", [1, 2], queue="high_priority", countdown=1).get(timeout=20),
    add.delay(2, 3).get(timeout=20),
    add.apply_async((3, 4), queue="default", countdown=1).get(timeout=20),
    chain(add.s(1, 2), add.s(3), add.s(4)).apply_async().get(timeout=20),
    group(add.s(n, n) for n in range(3)).apply_async().get(timeout=20),
    chord([add.s(n, n) for n in range(4)])(total.s()).get(timeout=20),
    type(chord([add.s(1, 1), app.tasks["demo.fail"].s("no")])(total.s())
         .get(timeout=20, propagate=False)).__name__,
    app.tasks["demo.flaky"].s(1).apply_async(countdown=1).get(timeout=20),
]))
"""


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


async def finish(child: Child, timeout_s: float = 60.0) -> str:
    """Run a program to its end and return what it said."""
    child.spawn()
    await eventually(lambda: child.returncode is not None, timeout_s)
    output = child.logged().decode()
    assert child.returncode == 0, output
    return output


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_results_groups_and_chords(deployment: Deployment, pool: str):
    async with deployment.worker(pool):
        client = Child(
            "client", [sys.executable, "-c", CLIENT], log=deployment.folder / "client.log",
            env=deployment.environment, cwd=ROOT,
        )  # fmt: skip
        output = await finish(client)
        assert json.loads(output.splitlines()[-1]) == [
            3, 5, 7, 10, [0, 2, 4], 12, "ChordError", 2
        ]  # fmt: skip


async def test_a_stock_celery_reads_our_states(deployment: Deployment):
    async with deployment.worker():
        stock = Celery("stock", backend=deployment.redis_url, set_as_current=False)
        added = deployment.publish("demo.add", [2, 3])
        failed = deployment.publish("demo.fail", ["no"])
        await deployment.ended(added)
        await deployment.ended(failed)

        assert stock.AsyncResult(added).get(timeout=5) == 5
        error = stock.AsyncResult(failed).get(timeout=5, propagate=False)
        assert repr(error) == "RuntimeError('no')"
        assert "RuntimeError: no" in stock.AsyncResult(failed).traceback
        stock.backend.result_consumer.stop()
        stock.backend.client.close()
        stock.close()


async def test_commands(deployment: Deployment):
    def celery(name: str, *arguments: str) -> Child:
        return deployment.celery(name, *arguments)

    async with deployment.worker(
        "prefork", "-Q", "high_priority,default", "-E", name="w1"
    ) as worker:
        said = await asyncio.gather(
            finish(celery("stats", "inspect", "stats", "--json")),
            finish(celery("queues", "inspect", "active_queues", "--json")),
            finish(celery("names", "inspect", "registered", "--json")),
        )
        stats, queues, names = map(json.loads, said)
        (node,) = stats
        assert stats[node]["pool"]["max-concurrency"] == 2
        assert [queue["name"] for queue in queues[node]] == [
            "high_priority", "default", f"broadcast.{node}"
        ]  # fmt: skip
        assert "demo.progress" in names[node]
        dump = celery("dump", "events", "--dump")
        dump.spawn()
        await eventually(lambda: b"heartbeat: active" in dump.logged(), 15)
        await finish(celery("enable", "control", "enable_events"))
        task_id = (await finish(celery("call", "call", "demo.add", "--args=[2, 3]"))).split()[-1]
        assert (await deployment.ended(task_id))["result"] == 5
        result = await finish(celery("result", "result", task_id))
        assert result.split()[-1] == "5"
        await eventually(lambda: b"task succeeded" in dump.logged(), 10)
        await dump.stop(5)
        revoked = deployment.publish("demo.run", ["revoked"], routing_key="periodic")
        await finish(celery("revoke", "control", "revoke", revoked))
        await eventually(lambda: deployment.record(revoked).get("status") == "REVOKED")
        refused = await finish(celery("images", "control", "add_consumer", "images"))
        assert "queue 'images' is not in the layout" in refused
        added = await finish(celery("add", "control", "add_consumer", "periodic"))
        assert "add consumer periodic" in added
        await eventually(lambda: deployment.depth("periodic") == 0)
        await eventually(
            lambda: (
                b"not started" in worker.child.logged()
                or "revoked" in worker.child.logged().decode()
            )
        )
        assert "revoked" not in deployment.runs


async def test_an_id_that_nobody_has_is_revoked_without_a_record(deployment: Deployment, gateway):
    async with deployment.worker("threads") as worker:
        answer = await gateway.delete("/v1/tasks/nobody")
        said = await answer.json()
        assert said == {"id": "nobody", "state": "PENDING", "revoking": True}
        await eventually(lambda: b"flagged as revoked: nobody" in worker.child.logged(), 10)

        assert not deployment.record("nobody")
        assert (await gateway.get("/v1/tasks/nobody")).status == 404
        again = deployment.publish("demo.add", [1, 2], task_id="nobody")
        assert (await deployment.ended(again))["status"] == "REVOKED"


async def test_multi_and_the_file_of_make_run(deployment: Deployment):
    folder = deployment.folder / "checkout"
    (folder / ".devstack").mkdir(parents=True)
    (folder / ".devstack" / "env").write_text(
        f"AMQP_URL={deployment.amqp_url}\nREDIS_URL={deployment.redis_url}\n"
    )
    kept = {k: v for k, v in deployment.environment.items() if not k.endswith("_URL")}

    def celery(name: str, *arguments: str) -> Child:
        return Child(
            name, [sys.executable, "-m", "celery", "-A", "tasks.worker", *arguments],
            log=deployment.folder / f"{name}.log", env={**kept, "PYTHONPATH": str(ROOT)},
            cwd=folder,
        )  # fmt: skip

    nodes = [
        "m1", "-P", "threads", "-c", "2", "-l", "info",
        f"--pidfile={folder}/%n.pid", f"--logfile={folder}/%n.log",
    ]  # fmt: skip
    await finish(celery("multi-start", "multi", "start", *nodes))
    try:
        task_id = (
            deployment.publish("demo.add", [2, 3])
            if await eventually(
                lambda: (
                    " ready." in (folder / "m1.log").read_text()
                    if (folder / "m1.log").exists()
                    else False
                ),
                20,
            )
            else ""
        )
        assert (await deployment.ended(task_id))["result"] == 5
    finally:
        await finish(celery("multi-stop", "multi", "stopwait", *nodes))
    assert not (folder / "m1.pid").exists()


@pytest.mark.bare_vhost
async def test_a_worker_purges_on_a_broker_that_has_nothing_yet(deployment: Deployment):
    async with deployment.worker("solo", "--purge") as worker:
        log = worker.child.logged().decode()
        assert "records no end" in log
        assert log.count("default.toml names elsewhere.none: the gateway answers 404") == 1
        assert (await deployment.ended(deployment.publish("demo.add", [1, 2])))["result"] == 3


@pytest.mark.bare_vhost
async def test_a_worker_whose_layout_differs_from_the_broker_says_so_and_ends(
    deployment: Deployment,
):
    with Connection(deployment.amqp_url) as connection:
        connection.default_channel.queue_declare(
            "default", durable=True, auto_delete=False, arguments={"x-queue-type": "classic"}
        )
    worker = deployment.celery("w", "worker", "-P", "solo", app="tasks")
    worker.spawn()
    await eventually(lambda: worker.returncode is not None, 30)

    log = worker.logged().decode()
    assert worker.returncode == os.EX_CONFIG, log
    (said,) = [line for line in log.splitlines() if "default.toml" in line]
    assert "queue 'default': " in said
    assert " on the broker, the layout says " in said
    assert "python -m topology apply" in said
    assert "Traceback" not in log
