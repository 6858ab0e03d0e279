"""An app that knows nothing of this project: described, imported, and submitted to."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devstack.product import ROOT
from devstack.rabbit import Rabbit
from tests.deployment.gateway import running_gateway
from tests.deployment.workers import Deployment
from topology.__main__ import main

pytestmark = pytest.mark.bare_vhost


@pytest.fixture
def app(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app="tests.installed_app",
        env={"INSTALL": "no"},
    )


def describe(app: Deployment) -> Path:
    """Run the command in the app's environment."""
    file = app.folder / "app.json"
    command = [sys.executable, "-m", "penstock", "describe", "-A", app.app, "-o", str(file)]
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

        status, refused = await answer_of(http, "installed.ad", 1)
        assert (status, refused["code"]) == (404, "unknown-task")
        status, refused = await answer_of(http, "installed.add", "two")
        assert (status, refused["code"]) == (422, "invalid-arguments")
        assert [one["at"] for one in refused["errors"]] == ["$.args[0]"]


async def test_a_broker_alone_is_imported(app: Deployment, rabbit: Rabbit):
    async with app.worker("threads", name="stock"):
        vhost = app.amqp_url.rpartition("/")[2]
        layout = imported(app, "--management", rabbit.management_url, "--vhost", vhost)
        async with running_gateway(
            amqp_url=app.amqp_url, redis_url=app.redis_url, topology_file=layout
        ) as http:
            assert (await answer_of(http, "installed.add", 2, 3))[1]["result"] == 5
