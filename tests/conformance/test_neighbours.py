"""What applications have beside Celery does in coroutines what it does in functions."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.peers import install, python_of
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.bare_vhost,
    pytest.mark.long,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("installed", ["", "1"], ids=["plain", "one line"]),
]
ENDS = ("succeeds", "fails", "is expected", "retries")


@pytest.fixture
async def worker(
    installed: str, amqp_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """A worker with the asyncio pool."""
    install("neighbours")
    deployment = Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app="tests.conformance.neighbours_app",
        python=python_of("neighbours"),
        env={"INSTALL": installed},
    )
    async with deployment.worker("asyncio", concurrency=10):
        yield deployment


def publish(worker: Deployment, task: str, *args: Any) -> str:
    name = f"tests.conformance.neighbours_app.{task}"
    return worker.publish(
        name, args, exchange="", routing_key="beside", argsrepr=repr(args), kwargsrepr="{}"
    )


async def result(worker: Deployment, task: str, *args: Any) -> Any:
    record = await worker.ended(publish(worker, task, *args))
    return record["result"] if record["status"] == "SUCCESS" else record["result"]["exc_type"]


async def test_a_dead_connection_of_django_is_closed(worker: Deployment):
    assert await result(worker, "asks") == 1
    assert await result(worker, "loses") is None
    assert [await result(worker, "asks") for _ in range(3)] == [1, 1, 1]


async def test_a_connection_that_a_coroutine_uses_is_closed_only_if_it_is_dead(worker: Deployment):
    iterates = publish(worker, "iterates", 3)
    await eventually(lambda: "iterates" in worker.runs, 10)
    assert [await result(worker, "asks") for _ in range(2)] == [1, 1]
    assert (await worker.ended(iterates))["result"] == 9

    publish(worker, "iterates", 5)
    await eventually(lambda: worker.runs.count("iterates") == 2, 10)
    assert await result(worker, "loses") is None
    assert [await result(worker, "asks") for _ in range(3)] == ["ProgrammingError", 1, 1]


async def test_sentry_shows_a_coroutine_as_a_function(worker: Deployment):
    shown: dict[str, list[Any]] = {}
    for task in ("function", "coroutine"):
        for name in ENDS:
            await worker.ended(publish(worker, task, name))

        def all_shown(task: str = task) -> bool:
            shown[task] = sorted((_plain(one, task) for one in _reports(worker)), key=repr)
            return len([one for one in shown[task] if one]) == len(ENDS) + 2

        await eventually(all_shown, 10)
        worker.runs_file.write_text("", encoding="utf-8")

    assert shown["coroutine"] == shown["function"]
    assert {one["status"] for one in shown["coroutine"] if one["kind"] == "transaction"} == {
        "ok", "aborted", "internal_error",
    }  # fmt: skip


async def test_sentry_gets_the_failure_that_ends_a_task_that_was_tried_again(worker: Deployment):
    await worker.ended(publish(worker, "tried_again", "fails"))

    def last() -> bool:
        seen = [(one.get("type"), one["contexts"]["trace"]["status"]) for one in _reports(worker)]
        return seen == [
            ("transaction", "aborted"), (None, "internal_error"), ("transaction", "internal_error"),
        ]  # fmt: skip

    await eventually(last, 10)


def _reports(worker: Deployment) -> list[dict[str, Any]]:
    return [json.loads(one) for one in worker.runs if one.startswith("{")]


def _plain(report: dict[str, Any], task: str) -> dict[str, Any]:
    """Leave out what is of one execution alone."""
    spans = {one["span_id"]: one for one in report.get("spans", [])}
    job = report["extra"]["celery-job"]
    trace = report["contexts"]["trace"]
    found = {
        "kind": report.get("type"),
        "op": trace.get("op"),
        "status": trace.get("status"),
        "origin": trace.get("origin"),
        "source": report.get("transaction_info"),
        "transaction": report["transaction"],
        "tags": sorted((name, value) for name, value in report["tags"].items() if "id" not in name),
        "job": [job["task_name"], list(job["args"]), job["kwargs"]],
        "exception": [
            (one["type"], one["value"], one["mechanism"])
            for one in report.get("exception", {}).get("values", [])
        ],
        "variables": [
            sorted(one["stacktrace"]["frames"][-1]["vars"])
            for one in report.get("exception", {}).get("values", [])
        ],
        "breadcrumbs": [
            one["message"] for one in report.get("breadcrumbs", {"values": []})["values"]
        ],
        "spans": sorted(
            (
                one["op"],
                one["description"],
                one["origin"],
                one.get("status") or "",
                sorted(one["data"]),
            )
            for one in spans.values()
        ),
    }
    return json.loads(json.dumps(found).replace(f"neighbours_app.{task}", "neighbours_app.task"))
