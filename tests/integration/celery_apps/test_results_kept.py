"""How long an application keeps its results: for ever, less than a second."""

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.wire.headers import TENANT_HEADER
from penstock.wire.kept_results import LONGEST_S, usage_key
from penstock.wire.keys import ENDED_EXTRA_S, TaskKeys
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("settings", "task", "state", "kept_s"),
    [
        ({"result_expires": None}, "report_async", "SUCCESS", LONGEST_S),
        ({"result_expires": 0.5}, "report", "SUCCESS", 1),
        ({"result_expires": 9, "result_failure_expires": 0}, "fail", "FAILURE", LONGEST_S),
    ],
)
async def test_a_task_runs_and_its_end_is_known_however_long_results_are_kept(
    amqp_url: str,
    redis_url: str,
    tmp_path: Path,
    settings: dict[str, Any],
    task: str,
    state: str,
    kept_s: int,
):
    deployment = Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app="tests.apps.installed_app",
        env={"INSTALL": "late", "SETTINGS": json.dumps(settings)},
    )
    async with deployment.worker("asyncio" if task == "report_async" else "threads"):
        task_id = deployment.publish(
            f"installed.{task}",
            [] if task == "fail" else [2],
            exchange="",
            routing_key="installed",
            extra={TENANT_HEADER: "acme"},
        )
        mark = TaskKeys.of(task_id).ended
        await eventually(lambda: deployment.redis.get(mark) == state, timeout_s=15)

        assert 0 <= kept_s + ENDED_EXTRA_S - deployment.redis.ttl(mark) < 60
        assert deployment.redis.hlen(usage_key("acme")) > 0
