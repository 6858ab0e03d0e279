"""An app that knows nothing of this project: described, imported, and submitted to."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kombu.entity import Queue

from bench.peers import install, python_of
from devstack.product import ROOT
from devstack.rabbit import Rabbit
from devstack.redis_server import Redis
from penstock.wire.names import CALLBACKS_QUEUE
from tests.deployment.gateway import running_gateway
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually
from topology.__main__ import main

pytestmark = pytest.mark.bare_vhost


@pytest.fixture
def app(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app="tests.apps.installed_app",
        env={"INSTALL": "no"},
    )


def describe(app: Deployment) -> Path:
    """Run the command in the app's environment."""
    file = app.folder / "app.json"
    command = [str(app.python), "-m", "penstock", "describe", "-A", app.app, "-o", str(file)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **app.environment}, check=True)
    return file


def imported(app: Deployment, *arguments: str) -> Path:
    layout = app.folder / "layout.toml"
    assert main(["import", *arguments, "-o", str(layout)], {}) == 0
    return layout


async def answer_of(http: Any, task: str, *args: Any) -> tuple[int, Any]:
    body = {"task": task, "args": args}
    async with http.post("/v1/tasks?wait=20", json=body) as answer:
        return answer.status, await answer.json()


async def test_a_described_app_is_submitted_to(app: Deployment, rabbit: Rabbit, capsys):
    file = describe(app)
    vhost = json.loads(file.read_text())["broker"]["vhost"]
    assert app.amqp_url.endswith(vhost)
    layout = imported(app, "--app", str(file), "--management", rabbit.management_url)
    assert "queue 'installed' is not on the broker" in capsys.readouterr().out

    async with (
        app.worker("threads", name="stock"),
        running_gateway(
            amqp_url=app.amqp_url, redis_url=app.redis_url, topology_file=layout
        ) as http,
    ):
        assert (await answer_of(http, "installed.add", 2, 3))[1]["result"] == 5
        status, told = await answer_of(http, "installed.topical")
        assert (status, told["result"]) == (200, "topical.in")

        status, told = await answer_of(http, "installed.silent")
        assert (status, told["tracked"], "state" in told) == (202, False, False)
        await eventually(lambda: "silent" in app.runs, 20)

        status, refused = await answer_of(http, "installed.ad", 1)
        assert (status, refused["code"]) == (404, "unknown-task")
        status, refused = await answer_of(http, "installed.add", "two")
        assert (status, refused["code"]) == (422, "invalid-arguments")
        assert [one["at"] for one in refused["errors"]] == ["$.args[0]"]


async def test_a_queue_of_an_app_that_has_the_name_of_ours_is_left_to_its_workers(
    app: Deployment, capsys
):
    document = json.loads(describe(app).read_text())
    add = next(one for one in document["tasks"] if one["task"] == "installed.add")
    add["route"] = {"queue": CALLBACKS_QUEUE, "exchange": "", "routing_key": CALLBACKS_QUEUE}
    document["queues"].append(
        {"name": CALLBACKS_QUEUE, "arguments": {}, "declared": True, "bindings": []}
    )
    file = app.folder / "app.json"
    file.write_text(json.dumps(document))
    with app.confirming() as connection:
        queue = Queue(CALLBACKS_QUEUE)(connection.channel())
        queue.declare()
        kept = app.publish("installed.add", (1, 1), exchange="", routing_key=CALLBACKS_QUEUE)
        layout = imported(app, "--app", str(file))
        assert "no     callback_url: " in capsys.readouterr().out
        async with running_gateway(
            amqp_url=app.amqp_url,
            redis_url=app.redis_url,
            topology_file=layout,
            callback_hosts=("127.0.0.1",),
        ) as http:
            body = {"task": "installed.add", "args": [2, 3]}
            async with http.post("/v1/tasks", json=body) as answer:
                assert answer.status == 202
                sent = (await answer.json())["id"]
            called = {**body, "options": {"callback_url": "http://127.0.0.1:1/"}}
            async with http.post("/v1/tasks", json=called) as answer:
                assert answer.status == 400
                assert "no app that owns it" in await answer.text()
            assert queue.queue_declare(passive=True).consumer_count == 0
        assert [queue.get(no_ack=True).headers["id"] for _ in range(2)] == [kept, sent]


async def test_a_broker_alone_is_imported(app: Deployment, rabbit: Rabbit):
    async with app.worker("threads", name="stock"):
        vhost = app.amqp_url.rpartition("/")[2]
        layout = imported(app, "--management", rabbit.management_url, "--vhost", vhost)
        async with running_gateway(
            amqp_url=app.amqp_url, redis_url=app.redis_url, topology_file=layout
        ) as http:
            assert (await answer_of(http, "installed.add", 2, 3))[1]["result"] == 5


async def test_what_was_revoked_without_a_worker_never_runs_on_one_with_the_library(
    app: Deployment,
):
    app.env["INSTALL"] = "late"
    layout = imported(app, "--app", str(describe(app)))
    async with running_gateway(
        amqp_url=app.amqp_url, redis_url=app.redis_url, topology_file=layout
    ) as http:
        async with app.worker("threads", name="first"):  # declares the queues
            assert (await answer_of(http, "installed.add", 2))[1]["result"] == 3
        app.runs_file.write_text("")
        ids = []
        for _ in range(5):
            async with http.post(
                "/v1/tasks", json={"task": "installed.add", "args": [1]}
            ) as answer:
                ids.append((await answer.json())["id"])
        for task_id in ids[:4]:
            async with http.delete(f"/v1/tasks/{task_id}") as answer:
                assert answer.status == 202

        async with app.worker("prefork", name="second"):  # knows no broadcast of before
            states = {"ids": ids}
            async with http.post("/v1/tasks/status?wait=20", json=states) as answer:
                told = (await answer.json())["tasks"]
            assert [one["state"] for one in told] == ["REVOKED"] * 4 + ["SUCCESS"]
            assert told[4]["worker"].startswith("second@")
            assert told[4]["started_at"]
            assert app.runs == ["add"]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("when", ["no", "late"])
async def test_an_app_of_celery_5_4_with_a_key_prefix_and_a_database_of_its_own(
    app: Deployment, redis_server: Redis, when: str, capsys
):
    install("celery-5.4")
    app.python = python_of("celery-5.4")
    app.redis_url = redis_server.url_of(5)
    app.env = {"INSTALL": when, "KEYPREFIX": "acme:"}
    layout = imported(app, "--app", str(describe(app)))
    report = capsys.readouterr().out
    assert "RESULT_KEY_PREFIX=acme:_\n" in report  # 5.5 has no `_` there
    assert "/5 " in report

    async with (
        app.worker("prefork", name="old"),
        running_gateway(
            amqp_url=app.amqp_url,
            redis_url=app.redis_url,
            topology_file=layout,
            result_key_prefix="acme:_",
        ) as http,
    ):
        assert (await answer_of(http, "installed.add", 2, 3))[1]["result"] == 5
        assert (await answer_of(http, "installed.topical"))[1]["result"] == "topical.in"
        body = {"task": "installed.topical", "options": {"priority": 9}}
        async with http.post("/v1/tasks?wait=20", json=body) as answer:
            assert (await answer.json())["state"] == "SUCCESS"
        failed = (await answer_of(http, "installed.fail"))[1]
        assert failed["state"] == "FAILURE"
        if when == "late":
            assert failed["error"] == {"type": "OddError", "message": "one and two"} | {
                "traceback": failed["error"].get("traceback")
            }
