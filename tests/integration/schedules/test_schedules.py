"""Periodic tasks over HTTP: made, obeyed by beat, changed and run now."""

import itertools
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from redbeat.decoder import RedBeatJSONEncoder
from redbeat.schedulers import get_redis

from gateway.timestamps import rfc3339
from penstock.worker.beat.schedule_entries import PeriodicEntry
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.integration.test_submit import messages
from tests.support.schedules_seen import EVERY, KEY, WARNING, beating, get, put, unix
from tests.support.waiting import eventually
from topology.layout import load


async def test_a_schedule_is_made_told_replaced_and_deleted(gateway):
    body: dict[str, Any] = {
        "task": "demo.add", "args": [1], "kwargs": {"y": 2}, "enabled": True,
        "options": {
            "queue": "ranked", "expires": 60.0, "priority": 3, "headers": {"a": "b"},
        },
        "crontab": {"minute": "*/5", "hour": "8-17", "timezone": "Europe/Berlin"},
    }  # fmt: skip
    response = await gateway.put("/v1/schedules/my%20%7Breport%7D", json=body)
    made = await response.json()
    assert response.status == 201
    full = {"day_of_week": "*", "day_of_month": "*", "month_of_year": "*", **body["crontab"]}
    expected = {
        **body, "name": "my {report}", "tenant": "anonymous", "crontab": full, "last_run_at": None,
        "total_runs": 0, "warning": WARNING,
    }  # fmt: skip
    assert {**made, "next_run_at": None} == {**expected, "next_run_at": None}
    assert unix(made["next_run_at"]) % 300 == 0
    assert await get(gateway, "my%20%7Breport%7D") == made
    listed = await (await gateway.get("/v1/schedules")).json()
    del made["warning"]
    assert listed == {"schedules": [made], "warning": WARNING}

    response = await gateway.put("/v1/schedules/my%20%7Breport%7D", json=EVERY)
    replaced = await response.json()
    assert response.status == 200
    assert (replaced["every"], replaced["options"], "crontab" in replaced) == (1, {}, False)
    assert abs(unix(replaced["next_run_at"]) - time.time() - 1) < 2

    assert (await gateway.delete("/v1/schedules/my%20%7Breport%7D")).status == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/run")):
        response = await gateway.request(method, f"/v1/schedules/my%20%7Breport%7D{path}")
        assert (response.status, (await response.json())["code"]) == (404, "unknown-schedule")
    listed = await (await gateway.get("/v1/schedules")).json()
    assert listed == {"schedules": [], "warning": WARNING}


@pytest.mark.parametrize("zone", [{}, {"timezone": "UTC"}])
async def test_utc_is_named_too(gateway, zone):
    body = {"task": "demo.add", "args": [1, 2], "crontab": {"minute": "0", **zone}}
    async with gateway.put("/v1/schedules/utc", json=body) as response:
        assert (await response.json())["crontab"]["timezone"] == "UTC"
    assert (await get(gateway, "utc"))["crontab"]["timezone"] == "UTC"


async def test_the_beat_obeys(deployment, gateway, amqp_url):
    async with beating(deployment):
        await eventually(lambda: _is_there(gateway, "script-heartbeat"), 10)
        shipped = await _shipped(gateway)
        assert shipped["heartbeat"]["every"] == 10
        assert shipped["script-heartbeat"]["crontab"]["minute"] == "*"
        await put(gateway, "fast", {**EVERY, "options": {"queue": "high_priority"}})
        await eventually(lambda: _runs(gateway, "fast", 2), 15)
        told = await get(gateway, "fast")
        assert "warning" not in told
        assert abs(unix(told["last_run_at"]) - time.time()) < 5
        assert abs(unix(told["next_run_at"]) - unix(told["last_run_at"]) - 1) < 0.002

        await put(gateway, "fast", {**EVERY, "enabled": False})
        runs = (await get(gateway, "fast"))["total_runs"]
        sun = {"event": "sunset", "latitude": 52.5, "longitude": 13.4}
        made = await put(gateway, "sun", {"task": "demo.add", "args": [1, 2], "solar": sun})
        assert 0 < unix(made["next_run_at"]) - time.time() < 86_400 + 300
        zoned = {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "Asia/Tokyo"}}
        await put(gateway, "zoned", zoned)
        due = (await get(gateway, "zoned"))["next_run_at"]
        await eventually(lambda: _runs(gateway, "zoned", 1), 70)
        assert 0 <= unix((await get(gateway, "zoned"))["last_run_at"]) - unix(due) < 1
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
    meta = json.loads(str(deployment.redis.hget(KEY, "meta")))
    long_ago = {**meta["last_run_at"], "year": 2020}
    deployment.redis.hset(KEY, "meta", json.dumps({"last_run_at": long_ago, "total_run_count": 7}))
    told = await put(gateway, "x", {**daily, "args": [3, 4]})  # the times stay: so does the count
    assert (told["total_runs"], told["last_run_at"][:4]) == (7, "2020")

    told = await put(gateway, "x", {**EVERY, "every": 3600})
    assert abs(unix(told["next_run_at"]) - time.time() - 3600) < 5
    assert (told["total_runs"], told["last_run_at"][:4]) == (7, "2020")
    await put(gateway, "x", {**EVERY, "every": 3600, "enabled": False})
    deployment.redis.zadd("redbeat::schedule", {KEY: time.time() - 7200})
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


async def test_both_processes_compute_the_same_next_run(gateway, deployment):
    app = build_app(WorkerConfig.from_env(deployment.environment), load())
    zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]
    nights = [(2026, 3, 29), (2026, 10, 25), (2026, 11, 1), (2027, 4, 4), (2027, 2, 7)]
    schedules: list[dict[str, Any]] = [
        *(
            {"crontab": {"minute": m, "hour": h}}
            for m, h in (("*/15", "*"), ("30", "2"), ("0", "1-3"))
        ),
        {"solar": {"event": "dusk_civil", "latitude": 52.5, "longitude": 13.4}},
        {"every": 1000.5},
    ]
    for number, (zone, night) in enumerate(itertools.product(zones, nights)):
        schedule = schedules[number % len(schedules)]
        if "crontab" in schedule:
            schedule = {"crontab": {**schedule["crontab"], "timezone": zone}}
        await put(gateway, "x", {"task": "demo.add", "args": [1, 2], **schedule})
        last = datetime(*night, number % 4, 7, 3, 141_593, tzinfo=UTC)
        meta = {"last_run_at": last, "total_run_count": 1}
        deployment.redis.hset(KEY, "meta", json.dumps(meta, cls=RedBeatJSONEncoder))

        told = await get(gateway, "x")
        entry = PeriodicEntry.from_key(KEY, app=app)
        assert told["next_run_at"] == rfc3339(entry.score)
        assert entry.score > last.timestamp()
    get_redis(app).close()


async def test_without_redis_there_are_no_schedules(gateway, redis_server):
    await redis_server.kill()
    try:
        for method, path in (("GET", ""), ("GET", "/x"), ("DELETE", "/x"), ("PUT", "/x")):
            body = EVERY if method == "PUT" else None
            response = await gateway.request(method, f"/v1/schedules{path}", json=body)
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
            "name": "odd", "tenant": "admin", "task": "their.task",
            "args": [], "kwargs": {}, "enabled": True,
            "options": {"delivery_mode": 1}, "schedule": {"__type__": "rrule", "freq": 3},
            "last_run_at": None, "next_run_at": None, "total_runs": 0,
        }
    ]  # fmt: skip
    response = await gateway.post("/v1/schedules/odd/run")
    assert (response.status, (await response.json())["code"]) == (404, "unknown-task")


async def test_a_run_that_is_noted_late_undoes_no_change(deployment, gateway):
    app = build_app(WorkerConfig.from_env(deployment.environment), load())
    await put(gateway, "x", {**EVERY, "every": 86_400})
    read_before = PeriodicEntry.from_key(KEY, app=app)
    changed = await put(gateway, "x", {**EVERY, "every": 60})
    next(read_before)

    told = await get(gateway, "x")
    assert told["next_run_at"] == changed["next_run_at"]
    assert told["total_runs"] == 1
    read_before = PeriodicEntry.from_key(KEY, app=app)
    await gateway.delete("/v1/schedules/x")
    next(read_before)
    assert deployment.redis.keys("redbeat*") == []
    get_redis(app).close()
