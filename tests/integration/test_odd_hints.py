"""A task that cannot be described costs its own checks only."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from devstack.product import ROOT
from penstock.wire.announcements import CATALOG_KEY
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

ANY: list[tuple[str, str, Any]] = [("args", "var_positional", {}), ("kwargs", "var_keyword", {})]
PARAMS = {
    "odd.choose": [
        ("colour", "positional_or_keyword", {}),
        ("how", "positional_or_keyword", {"enum": ["fast", 1]}),
    ],
    "odd.lazy": ANY,
    "odd.plain": [("x", "positional_or_keyword", {"type": "integer"})],
}
DOCS = {"odd.choose": "Choose.", "odd.lazy": "", "odd.plain": "Be plain."}


def shapes(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        one["task"]: [(each["name"], each["kind"], each["schema"]) for each in one["params"]]
        for one in tasks
    }


async def test_a_worker_announces_every_task_and_names_what_it_cannot_describe(
    amqp_url: str, redis_url: str, tmp_path: Path
):
    deployment = Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app="tests.apps.odd_hints_app",
        env={"INSTALL": "yes"},
    )
    async with deployment.worker() as worker:
        found = await eventually(
            lambda: [json.loads(one) for one in deployment.redis.hvals(CATALOG_KEY)]
        )
        assert b"task=odd.lazy cannot be described" in worker.child.logged()
    assert shapes(found) == PARAMS
    assert {one["task"]: one["doc"] for one in found} == DOCS


def test_an_application_is_described_and_what_cannot_be_is_named(tmp_path: Path):
    program = subprocess.run(
        [sys.executable, "-m", "penstock", "describe", "-A", "tests.apps.odd_hints_app"],
        cwd=ROOT,
        env={"AMQP_URL": "amqp://localhost:1", "REDIS_URL": "redis://localhost:1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert program.returncode == 0, program.stderr
    found = json.loads(program.stdout)["tasks"]
    assert shapes(found) == PARAMS
    assert {one["task"]: one["doc"] for one in found} == DOCS
    assert "odd.lazy: any arguments fit" in program.stderr
