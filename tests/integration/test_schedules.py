"""/v1/schedules over HTTP, with a real beat that obeys them."""

import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from redbeat.schedulers import get_redis

from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.schedule_entries import PeriodicEntry
from tests.integration.test_canvas_refusals import announce
from tests.integration.test_submit import messages
from tests.tasks_core_deployment import Deployment
from tests.waiting import eventually
from topology.layout import load

EVERY = {"task": "demo.add", "args": [1, 2], "every": 1}


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


@asynccontextmanager
async def beating(deployment: Deployment) -> AsyncIterator[None]:
    """A beat that leads."""
    beat = deployment.celery("beat", "beat", "-l", "info", app="tasks.worker")
    beat.spawn()
    try:
        await eventually(lambda: b"beat: leading" in beat.logged(), 20)
        yield
    finally:
        await beat.stop(10)


async def put(gateway: Any, name: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await gateway.put(f"/v1/schedules/{name}", json=body)
    told: dict[str, Any] = await response.json()
    assert response.status in {200, 201}, told
    return told


async def get(gateway: Any, name: str) -> dict[str, Any]:
    response = await gateway.get(f"/v1/schedules/{name}")
    told: dict[str, Any] = await response.json()
    assert response.status == 200, told
    return told


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def test_a_schedule_is_made_told_replaced_and_deleted(gateway):
    body: dict[str, Any] = {
        "task": "demo.add", "args": [1], "kwargs": {"y": 2}, "enabled": True,
        "options": {
            "queue": "ranked", "expires": 60.0, "priority": 3, "headers": {"a": "b"},
        },
        "crontab": {"minute": "*/5", "hour": "8-17", "timezone": "Europe/Berlin"},
    }  # fmt: skip
    response = await gateway.put("/v1/schedules/my%20report", json=body)
    made = await response.json()
    assert response.status == 201
    full = {"day_of_week": "*", "day_of_month": "*", "month_of_year": "*", **body["crontab"]}
    expected = {**body, "name": "my report", "crontab": full, "last_run_at": None, "total_runs": 0}
    assert {**made, "next_run_at": None} == {**expected, "next_run_at": None}
    assert unix(made["next_run_at"]) % 300 == 0
    assert await get(gateway, "my%20report") == made
    listed = await (await gateway.get("/v1/schedules")).json()
    assert listed == {"schedules": [made]}

    response = await gateway.put("/v1/schedules/my%20report", json=EVERY)
    replaced = await response.json()
    assert response.status == 200
    assert (replaced["every"], replaced["options"], "crontab" in replaced) == (1, {}, False)
    assert abs(unix(replaced["next_run_at"]) - time.time() - 1) < 2

    assert (await gateway.delete("/v1/schedules/my%20report")).status == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/run")):
        response = await gateway.request(method, f"/v1/schedules/my%20report{path}")
        assert (response.status, (await response.json())["code"]) == (404, "unknown-schedule")
    assert await (await gateway.get("/v1/schedules")).json() == {"schedules": []}


async def test_the_beat_obeys(deployment, gateway, amqp_url):
    async with beating(deployment):
        await eventually(lambda: _is_there(gateway, "script-heartbeat"), 10)
        shipped = await _shipped(gateway)
        assert shipped["heartbeat"]["every"] == 10
        assert shipped["script-heartbeat"]["crontab"]["minute"] == "*"
        await put(gateway, "fast", {**EVERY, "options": {"queue": "high_priority"}})
        await eventually(lambda: _runs(gateway, "fast", 2), 15)
        told = await get(gateway, "fast")
        assert abs(unix(told["last_run_at"]) - time.time()) < 5
        assert abs(unix(told["next_run_at"]) - unix(told["last_run_at"]) - 1) < 0.002

        await put(gateway, "fast", {**EVERY, "enabled": False})
        runs = (await get(gateway, "fast"))["total_runs"]
        sun = {"event": "sunset", "latitude": 52.5, "longitude": 13.4}
        made = await put(gateway, "sun", {"task": "demo.add", "args": [1, 2], "solar": sun})
        assert 0 < unix(made["next_run_at"]) - time.time() < 86_400 + 300
        zoned = {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "Asia/Tokyo"}}
        await put(gateway, "zoned", zoned)
        await eventually(lambda: _runs(gateway, "zoned", 1), 70)
        assert unix((await get(gateway, "zoned"))["next_run_at"]) % 60 == 0
        told = await get(gateway, "fast")
        assert (told["total_runs"], told["next_run_at"]) == (runs, None)
        told = await get(gateway, "sun")
        assert (told["total_runs"], told["next_run_at"]) == (0, made["next_run_at"])

        await gateway.delete("/v1/schedules/heartbeat")
        await put(gateway, "fast", EVERY)
        await eventually(lambda: _runs(gateway, "fast", runs + 1), 15)
    async with beating(deployment):
        await eventually(lambda: _runs(gateway, "fast", runs + 3), 15)
        assert "heartbeat" not in await _shipped(gateway)
    found = await messages(amqp_url, "high_priority")
    assert found[0].headers["task"] == "demo.add"
    assert json.loads(found[0].body)[0] == [1, 2]


async def _shipped(gateway: Any) -> dict[str, Any]:
    listed = await (await gateway.get("/v1/schedules")).json()
    return {schedule["name"]: schedule for schedule in listed["schedules"]}


async def _is_there(gateway: Any, name: str) -> bool:
    return name in await _shipped(gateway)


async def _runs(gateway: Any, name: str, count: int) -> bool:
    return int((await get(gateway, name))["total_runs"]) >= count


async def test_a_changed_schedule_counts_from_the_change_and_keeps_its_history(deployment, gateway):
    daily = {**EVERY, "every": 86_400}
    await put(gateway, "x", daily)
    meta = json.loads(str(deployment.redis.hget("redbeat:x", "meta")))
    long_ago = {**meta["last_run_at"], "year": 2020}
    deployment.redis.hset(
        "redbeat:x", "meta", json.dumps({"last_run_at": long_ago, "total_run_count": 7})
    )
    told = await put(gateway, "x", {**daily, "args": [3, 4]})  # the times stay: so does the count
    assert (told["total_runs"], told["last_run_at"][:4]) == (7, "2020")

    told = await put(gateway, "x", {**EVERY, "every": 3600})
    assert abs(unix(told["next_run_at"]) - time.time() - 3600) < 5
    assert (told["total_runs"], told["last_run_at"][:4]) == (7, "2020")
    await put(gateway, "x", {**EVERY, "every": 3600, "enabled": False})
    deployment.redis.zadd("redbeat::schedule", {"redbeat:x": time.time() - 7200})
    told = await put(gateway, "x", {**EVERY, "every": 3600})
    assert abs(unix(told["next_run_at"]) - time.time() - 3600) < 5
    assert (told["total_runs"], told["last_run_at"][:4]) == (7, "2020")


async def test_run_publishes_now_and_leaves_the_times_alone(deployment, gateway, amqp_url):
    options = {"queue": "high_priority", "headers": {"a": "b"}, "countdown": 1}
    before = await put(gateway, "x", {**EVERY, "every": 3600, "options": options})
    response = await gateway.post("/v1/schedules/x/run")
    receipt = await response.json()

    assert response.status == 202
    assert response.headers["Location"] == f"/v1/tasks/{receipt['id']}"
    assert receipt["queues"] == ["high_priority"]
    assert await get(gateway, "x") == before
    await eventually(lambda: deployment.depth("high_priority") == 1, 8)
    [message] = await messages(amqp_url, "high_priority")
    assert message.headers["id"] == receipt["id"]
    assert message.headers["a"] == "b"


REFUSALS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"task": "demo.add"}, 400, "invalid-request", "$"),
    ({**EVERY, "crontab": {}}, 400, "invalid-request", "$"),
    ({**EVERY, "every": 0}, 400, "invalid-request", "$.every"),
    ({**EVERY, "every": "x"}, 400, "invalid-request", "$.every"),
    ({**EVERY, "more": 1}, 400, "invalid-request", "$.more"),
    ({**EVERY, "args": {}}, 400, "invalid-request", "$.args"),
    ({**EVERY, "args": [2**64]}, 400, "invalid-request", "$.args"),
    ({**EVERY, "task": "nobody.knows"}, 404, "unknown-task", ""),
    ({**EVERY, "args": [1, "x"]}, 422, "invalid-arguments", "$.args[1]"),
    ({**EVERY, "options": {"queue": "nope"}}, 404, "unknown-queue", ""),
    (
        {**EVERY, "options": {"eta": "2030-01-01T00:00:00Z"}},
        400, "invalid-request", "$.options.eta",
    ),
    (
        {**EVERY, "options": {"expires": "2030-01-01T00:00:00Z"}},
        400, "invalid-request", "$.options.expires",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"minute": "61"}},
        400, "invalid-request", "$.crontab.minute",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "Mars/Olympus"}},
        400, "invalid-request", "$.crontab.timezone",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "../../etc/passwd"}},
        400, "invalid-request", "$.crontab.timezone",
    ),
    (
        {"task": "demo.add", "crontab": {"day_of_month": "30", "month_of_year": "2"}},
        400, "invalid-request", "$.crontab",
    ),
    (
        {"task": "demo.add", "solar": {"event": "noon", "latitude": 1, "longitude": 2}},
        400, "invalid-request", "$.solar.event",
    ),
    (
        {"task": "demo.add", "solar": {"event": "sunset", "latitude": 91, "longitude": 2}},
        400, "invalid-request", "$.solar.latitude",
    ),
]  # fmt: skip


async def test_an_argument_that_would_be_told_back_as_another_is_refused(gateway, deployment):
    for number in (1 << 64, -(1 << 63) - 1, 10**400):
        body = {"task": "periodic.heartbeat", "args": [{"n": number}], "every": 100}
        response = await gateway.put("/v1/schedules/x", json=body)

        assert response.status == 400
        assert (await response.json())["errors"][0]["at"] == "$.args"
    largest = {"task": "periodic.heartbeat", "args": [(1 << 64) - 1], "every": 100}
    assert (await put(gateway, "x", largest))["args"] == largest["args"]
    assert (await (await gateway.post("/v1/schedules/y/run")).json())["queued"] == "no"


async def test_a_bad_schedule_is_refused_with_its_place(gateway, deployment):
    announce(gateway)
    for body, status, code, place in REFUSALS:
        response = await gateway.put("/v1/schedules/x", json=body)
        problem = await response.json()

        assert (response.status, problem["code"]) == (status, code), (body, problem)
        if place:
            assert problem["errors"][0]["at"] == place, problem
    for name in (":lock", "a" * 201, "a%0Ab"):
        response = await gateway.put(f"/v1/schedules/{name}", json=EVERY)
        assert response.status == 400, name
    assert deployment.redis.keys("redbeat*") == []


async def test_keys_and_privileges(make_gateway, tmp_path, deployment):
    def key(clear: str) -> str:
        return hashlib.sha256(clear.encode()).hexdigest()

    keys = tmp_path / "keys.toml"
    keys.write_text(
        f"""
        [[key]]
        name = "planner"
        sha256 = "{key("p")}"
        scopes = ["schedule"]
        [[key]]
        name = "submitter"
        sha256 = "{key("s")}"
        scopes = ["submit", "read"]
        [[key]]
        name = "root"
        sha256 = "{key("r")}"
        scopes = ["admin"]
        """
    )
    gateway = await make_gateway(keys_file=keys)
    planner, submitter, root = ({"Authorization": f"Bearer {clear}"} for clear in "psr")
    script = {"task": "scripts.run", "args": ["hello.sh"], "every": 60}

    async def code(method: str, path: str, headers: dict[str, str], **more: Any) -> tuple[int, Any]:
        response = await gateway.request(method, f"/v1/schedules{path}", headers=headers, **more)
        return response.status, (await response.json())["code"] if response.status > 299 else None

    for method, path in (("GET", ""), ("GET", "/x"), ("PUT", "/x"), ("POST", "/x/run")):
        assert await code(method, path, submitter, json=EVERY) == (403, "forbidden")
    assert await code("PUT", "/x", planner, json=script) == (403, "forbidden")
    assert await code("PUT", "/x", root, json=script) == (201, None)
    assert await code("PUT", "/x", planner, json=EVERY) == (403, "forbidden")
    assert await code("POST", "/x/run", planner) == (403, "forbidden")
    assert await code("DELETE", "/x", planner) == (403, "forbidden")
    assert await code("PUT", "/mine", planner, json=EVERY) == (201, None)
    assert await code("POST", "/mine/run", planner) == (202, None)
    assert await code("DELETE", "/mine", planner) == (204, None)


async def test_without_redis_there_are_no_schedules(gateway, redis_server):
    await redis_server.kill()
    try:
        for method, path in (("GET", ""), ("GET", "/x"), ("DELETE", "/x"), ("PUT", "/x")):
            response = await gateway.request(method, f"/v1/schedules{path}", json=EVERY)
            problem = await response.json()
            assert (response.status, problem["code"]) == (503, "state-unavailable")
    finally:
        await redis_server.start()


async def test_entries_of_others_are_told_as_far_as_they_are_understood(gateway, deployment):
    client = deployment.redis
    odd = {
        "name": "odd", "task": "their.task", "args": None, "kwargs": {}, "enabled": True,
        "options": {"delivery_mode": 1}, "schedule": {"__type__": "rrule", "freq": 3},
    }  # fmt: skip
    client.hset("redbeat:odd", "definition", json.dumps(odd))
    client.hset("redbeat:broken", "definition", "{")
    client.zadd("redbeat::schedule", {"redbeat:odd": -1, "redbeat:broken": 5})

    listed = await (await gateway.get("/v1/schedules")).json()

    assert listed["schedules"] == [
        {
            "name": "odd", "task": "their.task", "args": [], "kwargs": {}, "enabled": True,
            "options": {"delivery_mode": 1}, "schedule": {"__type__": "rrule", "freq": 3},
            "last_run_at": None, "next_run_at": None, "total_runs": 0,
        }
    ]  # fmt: skip
    response = await gateway.post("/v1/schedules/odd/run")
    assert (response.status, (await response.json())["code"]) == (404, "unknown-task")


async def test_a_run_that_is_noted_late_undoes_no_change(deployment, gateway):
    app = build_app(WorkerConfig.from_env(deployment.environment), load())
    await put(gateway, "x", {**EVERY, "every": 86_400})
    read_before = PeriodicEntry.from_key("redbeat:x", app=app)
    changed = await put(gateway, "x", {**EVERY, "every": 60})
    next(read_before)

    told = await get(gateway, "x")
    assert told["next_run_at"] == changed["next_run_at"]
    assert told["total_runs"] == 1
    read_before = PeriodicEntry.from_key("redbeat:x", app=app)
    await gateway.delete("/v1/schedules/x")
    next(read_before)
    assert deployment.redis.keys("redbeat*") == []
    get_redis(app).close()
