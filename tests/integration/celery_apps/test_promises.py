"""The README's promises for queues of an app: its tasks unchanged, and with one line in it."""

from pathlib import Path
from typing import Any

import pytest

from tests.deployment.gateway import running_gateway
from tests.deployment.workers import Deployment

LAYOUT = """
extends = "default"

[queues.installed]
owner = "app"

[[routes]]
task = "installed.*"
exchange = ""
routing_key = "installed"
announced = false
"""
TOLD: dict[str, dict[str, Any]] = {
    "no": {
        "revoked while no worker lived": "SUCCESS",
        "ran": ["add", "add"],
        "error": "UnpickleableExceptionWrapper",
        "started": False,
        "progress": 0,
    },
    "late": {
        "revoked while no worker lived": "REVOKED",
        "ran": ["add"],
        "error": "OddError",
        "started": True,
        "progress": 2,
    },
}
"""By where `penstock.install(app)` stands: nowhere, or at the end."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("install", TOLD)
async def test_what_is_promised_of_an_app_as_it_is_and_with_one_line(
    amqp_url: str, redis_url: str, tmp_path: Path, install: str
):
    layout = tmp_path / "layout.toml"
    layout.write_text(LAYOUT)
    deployment = Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tests.apps.installed_app",
        env={"INSTALL": install},
    )  # fmt: skip
    async with running_gateway(
        amqp_url=amqp_url, redis_url=redis_url, topology_file=layout
    ) as http:

        async def submit(task: str, *args: Any) -> str:
            body = {"task": f"installed.{task}", "args": args}
            async with http.post("/v1/tasks", json=body) as answer:
                told = await answer.json()
                assert answer.status == 202, told
                return str(told["id"])

        async with deployment.worker("prefork", name="first"):
            pass  # it has declared the queue
        accepted = await submit("add", 1)
        revoked = await submit("add", 2)
        delayed = {"task": "installed.add", "args": [3], "options": {"countdown": 3}}
        async with http.post("/v1/tasks", json=delayed) as answer:
            never = (await answer.json())["id"]
        for one in (revoked, never):
            async with http.delete(f"/v1/tasks/{one}") as answer:
                assert answer.status == 202
        failed, reported = await submit("fail"), await submit("report", 2)

        async with deployment.worker("prefork", name="second"):
            ids = {"ids": [accepted, revoked, failed, reported, never]}
            async with http.post("/v1/tasks/status?wait=30", json=ids) as answer:
                states = (await answer.json())["tasks"]
            expected = TOLD[install]
            assert [one["state"] for one in states] == [
                "SUCCESS", expected["revoked while no worker lived"], "FAILURE", "SUCCESS",
                "REVOKED",
            ]  # fmt: skip
            assert [line for line in deployment.runs if line == "add"] == expected["ran"]
            assert ("started_at" in states[0]) == expected["started"]
            assert states[2]["error"]["type"] == expected["error"]
            progress = [
                one for one in deployment.events(reported) if one.get("status") == "PROGRESS"
            ]
            assert len(progress) == expected["progress"]


def test_the_table_of_promises_has_a_column_for_each_of_them():
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    table = readme.partition("## What is guaranteed")[2].partition("\n\n`make drill`")[0]
    head, _, *rows = [line for line in table.split("\n") if line.startswith("|")]

    assert "as it is" in head
    assert "with one line" in head
    assert {row.count(" | ") for row in rows} == {head.count(" | ")}
