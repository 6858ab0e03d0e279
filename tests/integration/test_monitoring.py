"""The alerts by promtool, and a real Prometheus: each query of the dashboard returns its data."""

import asyncio
import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from devstack.ports import free_port
from devstack.product import ROOT, Launcher
from devstack.programs import find_promtool
from tests.deployment.monitoring import SHIPPED, Prometheus, write_configuration
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "penstock.json").read_text())
QUERIES = [
    (panel["title"], target["expr"].replace("$__rate_interval", "4s"))
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]
SCALERS = re.findall(
    r"http://gateway\.penstock\.svc(/v1/\S+)",
    (ROOT / "deploy" / "keda" / "scaled-objects.yaml").read_text(),
)
"""What KEDA asks."""
KEY = "the key"


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [find_promtool(), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_files_and_the_unit_tests_of_the_alerts_pass(tmp_path: Path):
    promtool("test", "rules", SHIPPED / "penstock.rules.test.yml")

    shown = write_configuration(tmp_path, ports=(8080,), history=8090, key="", every="15s")
    assert "SUCCESS: 18 rules found" in promtool("check", "config", shown)


@pytest.mark.timeout(120)
async def test_each_query_of_the_dashboard_returns_what_was_scraped_and_a_problem_is_an_alert(
    make_gateway, make_keys_file, rabbit, mongo_url, amqp_url: str, redis_url: str, tmp_path: Path
):
    keys = make_keys_file(["admin", "read", "submit", "ingest"])
    gateway = await make_gateway(keys_file=keys, management_url=rabbit.management_url)
    headers = {"Authorization": f"Bearer {KEY}"}
    deployment = Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tasks.worker",
        env={"MONGO_URL": mongo_url},
    )  # fmt: skip
    history_port = free_port()
    history = Launcher(env=deployment.environment, logs=tmp_path).history(history_port)
    prometheus = Prometheus(
        tmp_path / "prometheus", ports=(gateway.port,), history=history_port, key=KEY
    )
    server = redis.Redis.from_url(redis_url)
    working = True
    bodies = [
        {"task": "demo.add", "args": [1, 2]},
        {"task": "demo.fail", "args": ["no"]},
        {"task": "demo.flaky", "args": [1]},
        *[{"task": "demo.sleep", "args": [3]}] * 4,  # more than there are slots: some wait
    ]

    async def work() -> None:
        async with gateway.ws_connect(
            "/v1/stream", protocols=["penstock.v1"], headers=headers
        ) as socket:
            while working:
                for body in bodies:
                    async with gateway.post("/v1/tasks", json=body, headers=headers) as answer:
                        task_id = (await answer.json())["id"]
                    await socket.send_json({"op": "subscribe", "ids": [task_id]})
                async with gateway.post("/v1/ingest/a", json={"n": 1}, headers=headers) as answer:
                    assert answer.status == 202
                async with gateway.post("/v1/tasks", json={}, headers=headers) as answer:
                    assert answer.status == 400
                await asyncio.sleep(0.1)

    async def lacking() -> list[str]:
        return [
            f"{title}: {query}"
            for title, query in QUERIES
            if not any(finite(row) for row in await prometheus.query(query))
        ]

    async def all_there() -> bool:
        assert await lacking() == []
        return True

    queues = "default,coroutines,mongo_queue"
    async with deployment.worker("asyncio", "-Q", queues, concurrency=20):
        working_on = asyncio.create_task(work())
        server.set("ballast", bytes(40_000_000))
        server.config_set("maxmemory", "48mb")
        try:
            await history.start()
            await prometheus.start()
            for path in SCALERS:
                async with gateway.get(path, headers=headers) as answer:
                    assert isinstance((await answer.json())["wanted"], int)
            await eventually(all_there, 40, 0.5)
            alerts = {rule["name"]: rule for rule in await prometheus.rules()}
            assert {rule["health"] for rule in alerts.values()} == {"ok"}
            raised = {name for name, rule in alerts.items() if rule["state"] != "inactive"}
            assert raised - {"PenstockTasksFail"} == {"PenstockRedisMemory"}  # demo.fail does
        finally:
            server.config_set("maxmemory", "0")
            server.delete("ballast")
            working = False
            await working_on
            await prometheus.stop()
            await history.kill()
    assert len(QUERIES) > 25
    assert len(SCALERS) == 7


def finite(row: dict[str, Any]) -> bool:
    return math.isfinite(float(row["value"][1]))
