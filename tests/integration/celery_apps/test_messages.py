"""What the gateway sends to an app, and what the app's workers make of it."""

import json
import time
import uuid
from datetime import datetime
from typing import Any

import pytest

from gateway.api import parts
from tests.deployment.gateway import Gateway
from tests.deployment.lasting import Lasting
from tests.deployment.workers import Deployment
from tests.support.celery_apps import DEPLOYMENT, submit
from tests.support.waiting import eventually

__all__ = ["DEPLOYMENT"]


async def test_a_task_ends(apps: Gateway):
    assert (await submit(apps, "add", 2, 3))["result"] == 5


@pytest.mark.parametrize(
    ("options", "routing_key"),
    [
        ({}, "feed.a"),
        ({"queue": "celery"}, "celery"),
        ({"queue": "feeds", "priority": 7}, "feeds"),
        ({"exchange": "feed", "routing_key": "feed.b.c"}, "feed.b.c"),
        ({"countdown": 1, "priority": 3}, "feed.a"),
        ({"countdown": 1, "queue": "celery", "time_limit": 30.25}, "celery"),
        ({"expires": 600, "headers": {"x": 0.1, "n": 7}}, "feed.a"),
    ],
)
async def test_a_message_is_as_celerys_client_writes_it(
    apps: Gateway, options: dict[str, Any], routing_key: str
):
    body = {"task": "proj.shown", "args": [1, "é"], "kwargs": {"k": [True]}, "options": options}
    async with apps.post("/v1/tasks?wait=20", json=body) as answer:
        told = (await answer.json())["result"]

    assert told["args"] == [1, "é"]
    assert told["kwargs"] == {"k": [True]}
    assert (told["argsrepr"], told["kwargsrepr"]) == ("(1, 'é')", "{'k': [True]}")
    assert told["priority"] == options.get("priority", 0)
    assert told["routing_key"] == routing_key
    assert uuid.UUID(told["reply_to"])
    assert told["timelimit"] == [options.get("time_limit"), None]
    headers = {"x-penstock-json": "data", "x-penstock-tenant": "anonymous"}
    assert told["headers"].pop("x-penstock-request") == answer.headers["X-Request-Id"]
    assert told["headers"] == headers | options.get("headers", {})


@pytest.mark.parametrize(
    ("options", "priority", "expires_s"),
    [
        ({}, 7, 600),
        ({"priority": 2, "expires": 60}, 2, 60),
        ({"queue": "celery", "countdown": 1}, 7, 600),
    ],
)
async def test_a_submit_has_the_options_of_its_route_unless_it_names_them(
    apps: Gateway, options: dict[str, Any], priority: int, expires_s: float
):
    body = {"task": "proj.ranked", "options": options}
    for _ in range(2):  # the second from what the gateway remembers
        before = time.time()
        async with apps.post("/v1/tasks?wait=20", json=body) as answer:
            told = (await answer.json())["result"]
        expires = datetime.fromisoformat(told["expires"]).timestamp()

        assert told["priority"] == priority
        assert before + expires_s <= expires <= time.time() + expires_s


async def test_arguments_that_a_route_hides_are_not_in_the_message(apps: Gateway):
    told = (await submit(apps, "secret", "password"))["result"]

    assert (told["argsrepr"], told["kwargsrepr"]) == ("…", "…")


@pytest.mark.parametrize("large", ["x" * 100_000, list(range(20_000))])
async def test_what_is_shown_of_arguments_is_short(apps: Gateway, large: Any):
    told = (await submit(apps, "shown", large))["result"]

    assert told["args"] == [large]
    assert 100 < len(told["argsrepr"]) <= 1024


ENVELOPE = {"__type__": "datetime", "__value__": "2026-01-31"}


@pytest.mark.parametrize(
    ("args", "kwargs", "at"),
    [
        ([ENVELOPE], {}, "$.args[0]"),
        ([1, {"a": [[ENVELOPE]]}], {}, "$.args[1].a[0][0]"),
        ([], {"when": ENVELOPE}, "$.kwargs.when"),
        ([], ENVELOPE, "$.kwargs"),
    ],
)
async def test_an_object_that_kombu_would_not_take_for_data_is_refused(
    apps: Gateway, args: list[Any], kwargs: dict[str, Any], at: str
):
    text = json.dumps({"task": "proj.shown", "args": args, "kwargs": kwargs})
    for body in (text, text.replace("__type__", r"\u005f_type__")):
        headers = {"Content-Type": "application/json"}
        async with apps.post("/v1/tasks", data=body, headers=headers) as answer:
            problem = await answer.json()
        assert (answer.status, problem["code"], problem["queued"]) == (
            422, "invalid-arguments", "no",
        )  # fmt: skip
        assert [error["at"] for error in problem["errors"]] == [at]
    async with apps.post("/v1/tasks/bulk", json=[json.loads(text)]) as answer:
        assert (await answer.json())[0]["status"] == 422


async def test_text_that_looks_like_it_is_data(apps: Gateway):
    args = ["__type__", {"__type__": 1}, {"\u0430__value__": 2, "__type__": "datetime", "x": 1}]

    assert (await submit(apps, "shown", *args))["result"]["args"] == args


async def test_ends_of_stock_workers_are_told(apps: Gateway):
    failed = await submit(apps, "fail", "no")
    assert (failed["state"], failed["error"]["type"], failed["error"]["message"]) == (
        "FAILURE", "ValueError", "no",
    )  # fmt: skip
    assert (await submit(apps, "again", 2))["result"] == 2
    async with apps.get(f"/v1/tasks/{failed['id']}/result") as answer:
        assert (answer.status, (await answer.json())["code"]) == (409, "task-failed")
    told = await submit(apps, "note", "x", ignore_result=True, wait=0)
    assert told["tracked"] is False


async def test_a_stream_tells_what_a_stock_worker_does(apps: Gateway):
    task = await submit(apps, "slow", 0.2, wait=0)
    async with apps.get(f"/v1/tasks/{task['id']}/stream") as stream:
        text = (await stream.read()).decode()

    states = [json.loads(line[6:])["state"] for line in text.splitlines() if line[:6] == "data: "]
    assert states[-1] == "SUCCESS"
    assert "STARTED" in states


CANVASES: dict[str, tuple[dict[str, Any], Any]] = {
    "chain": (
        {"chain": [{"task": "proj.add", "args": [1, 2]}, {"task": "proj.add", "args": [3]}]},
        6,
    ),
    "chord": (
        {
            "chord": {
                "header": [{"task": "proj.add", "args": [n, 1]} for n in range(3)],
                "body": {"task": "proj.total"},
            }
        },
        6,
    ),
    "nested": (
        {
            "chain": [
                {"task": "proj.add", "args": [1, 1]},
                {"group": [{"task": "proj.add", "args": [n]} for n in range(2)]},
                {"task": "proj.total"},
            ]
        },
        5,
    ),
    "mixed": (
        {"chain": [{"task": "proj.add", "args": [1, 2]}, {"task": "demo.add", "args": [3]},
                   {"task": "proj.add", "args": [4]}]},
        10,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", [name for name in CANVASES if name != "mixed"])
async def test_a_canvas_runs_on_stock_workers(apps: Gateway, kind: str):
    canvas, result = CANVASES[kind]
    async with apps.post("/v1/canvas?wait=20", json=canvas) as answer:
        told = await answer.json()
        assert answer.status == 200, told

    assert told["result"] == result


async def test_a_canvas_passes_from_stock_workers_to_ours_and_back(
    apps: Gateway, lasting_deployment: Lasting
):
    """The workers of neither know where the tasks of the other go: the messages say it."""
    canvas, result = CANVASES["mixed"]
    environment = {"TOPOLOGY_FILE": str(apps.app[parts.CONFIG].topology_file)}
    ours = Deployment(
        amqp_url=lasting_deployment.amqp_url, redis_url=lasting_deployment.redis_url,
        folder=lasting_deployment.folder, app="tasks.worker",
        env={**environment, "MONGO_URL": "mongodb://127.0.0.1:1"},
    )  # fmt: skip
    async with (
        ours.worker("solo", name="ours", concurrency=1),
        apps.post("/v1/canvas?wait=30", json=canvas) as answer,
    ):
        told = await answer.json()

    assert told.get("result") == result, told


async def test_many_tasks_and_their_states(apps: Gateway):
    lines = "".join(json.dumps({"task": "proj.add", "args": [n, 1]}) + "\n" for n in range(100))
    headers = {"Content-Type": "application/x-ndjson"}
    async with apps.post("/v1/tasks/bulk?outcomes=all", data=lines, headers=headers) as answer:
        outcomes = [json.loads(line) for line in (await answer.text()).splitlines()]
    ids = [one["id"] for one in outcomes if "id" in one]
    async with apps.post("/v1/tasks/status?wait=20", json={"ids": ids}) as answer:
        states = (await answer.json())["tasks"]

    assert [state["result"] for state in states] == [n + 1 for n in range(100)]


async def test_a_key_makes_a_submit_repeatable(apps: Gateway, lasting_deployment: Lasting):
    body = {"task": "proj.note", "args": ["once"]}
    answers = []
    for _ in range(2):
        headers = {"Idempotency-Key": "k"}
        async with apps.post("/v1/tasks", json=body, headers=headers) as answer:
            answers.append(await answer.json())
    await submit(apps, "note", "last")

    assert answers[0] == answers[1]
    assert lasting_deployment.runs.count("once") == 1


async def test_queues_of_the_app_are_counted_and_explained(apps: Gateway):
    async def counted() -> Any:
        """What it says once the gateway has looked at the queue, a moment after it is ready."""
        async with apps.post("/v1/topology/route", json={"task": "proj.shown"}) as answer:
            told = await answer.json()
        return told if "consumers" in told["queues"][0] else None

    told = await eventually(counted, 15, 0.1)
    assert [(one["name"], one["priority"], one["consumers"]) for one in told["queues"]] == [
        ("feeds", True, 1)
    ]
    assert told["delay"] is True
    async with apps.get("/v1/topology") as answer:
        layout = await answer.json()
    owners = {queue["name"]: queue["owner"] for queue in layout["queues"]}
    assert (owners["celery"], owners["default"]) == ("app", "penstock")
    async with apps.get("/v1/queues") as answer:
        assert "celery" in {row["name"] for row in (await answer.json())["queues"]}


async def test_a_broadcast_reaches_every_worker_of_the_app(
    apps: Gateway, lasting_deployment: Lasting
):
    """kombu's `Broadcast` gives each worker a queue of its own, on a fanout exchange of the app."""
    body = {"task": "proj.everywhere", "args": ["heard"]}
    async with apps.post("/v1/broadcast", json=body) as answer:
        told = await answer.json()
    assert (answer.status, told["exchange"], told["tracked"]) == (202, "all", False)
    await eventually(lambda: lasting_deployment.runs == ["heard"], 20)
    async with apps.post("/v1/tasks", json=body) as answer:
        assert (answer.status, (await answer.json())["code"]) == (422, "unroutable")
