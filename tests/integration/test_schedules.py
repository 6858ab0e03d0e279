"""/v1/schedules over HTTP, with a real beat that obeys them."""

import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redbeat.decoder import RedBeatJSONEncoder
from redbeat.schedulers import get_redis

from gateway.timestamps import rfc3339
from penstock.worker.beat.schedule_entries import PeriodicEntry
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.deployment.workers import Deployment
from tests.integration.test_canvas_refusals import announce
from tests.integration.test_submit import messages
from tests.waiting import eventually
from topology.layout import load

KEY = "redbeat:@anonymous/x"
WARNING = "no scheduler runs the schedules: start one with `celery -A tasks beat`"
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
    expected = {
        **body, "name": "my report", "tenant": "anonymous", "crontab": full, "last_run_at": None,
        "total_runs": 0, "warning": WARNING,
    }  # fmt: skip
    assert {**made, "next_run_at": None} == {**expected, "next_run_at": None}
    assert unix(made["next_run_at"]) % 300 == 0
    assert await get(gateway, "my%20report") == made
    listed = await (await gateway.get("/v1/schedules")).json()
    del made["warning"]
    assert listed == {"schedules": [made], "warning": WARNING}

    response = await gateway.put("/v1/schedules/my%20report", json=EVERY)
    replaced = await response.json()
    assert response.status == 200
    assert (replaced["every"], replaced["options"], "crontab" in replaced) == (1, {}, False)
    assert abs(unix(replaced["next_run_at"]) - time.time() - 1) < 2

    assert (await gateway.delete("/v1/schedules/my%20report")).status == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/run")):
        response = await gateway.request(method, f"/v1/schedules/my%20report{path}")
        assert (response.status, (await response.json())["code"]) == (404, "unknown-schedule")
    listed = await (await gateway.get("/v1/schedules")).json()
    assert listed == {"schedules": [], "warning": WARNING}


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
    (
        {"task": "demo.add", "solar": {"event": "sunset", "latitude": 90, "longitude": 2}},
        400, "invalid-request", "$.solar",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "localtime"}},
        400, "invalid-request", "$.crontab.timezone",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "right/Europe/Berlin"}},
        400, "invalid-request", "$.crontab.timezone",
    ),
]  # fmt: skip


ODD_NAMES = (":lock", "::", ":schedule", ":statics", "a" * 201, "a%0Ab", "%2F", "a%2Fb", "@b%2Fx")
"""No schedule can have one of these."""
NAMES = (
    "my report",
    "a::b",
    "@b",
    "schedule",
    "lock",
    "\N{SNOWMAN}",
    "a%b",
    "%2F",
    "x" * 200,
    "\xe9",
)


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
    for name in ODD_NAMES:
        response = await gateway.put(f"/v1/schedules/{name}", json=EVERY)
        assert response.status == 400, name
    assert deployment.redis.keys("redbeat*") == []


def keys_file(path: Path, **keys: str) -> Path:
    """A keys file; the clear text of each key is its name."""
    tables = []
    for name, rest in keys.items():
        digest = hashlib.sha256(name.encode()).hexdigest()
        tables.append(f'[[key]]\nname = "{name}"\nsha256 = "{digest}"\n{rest}\n')
    path.write_text("".join(tables))
    return path


SCHEDULE = 'scopes = ["schedule"]'
KEYS = {
    "planner": SCHEDULE,
    "other": f'tenant = "b"\n{SCHEDULE}',
    "colleague": f'tenant = "planner"\n{SCHEDULE}',
    "narrow": f'tenant = "planner"\n{SCHEDULE}\ntasks = ["reports.*"]',
    "submitter": 'tenant = "planner"\nscopes = ["submit", "read"]',
    "root": 'scopes = ["admin"]',
}


class Client:
    """The gateway with one key."""

    def __init__(self, gateway: Any, key: str) -> None:
        self._gateway, self._headers = gateway, {"Authorization": f"Bearer {key}"}

    async def __call__(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        response = await self._gateway.request(
            method, f"/v1/schedules{path}", headers=self._headers, **more
        )
        return response.status, await response.json() if response.status != 204 else None

    async def code(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        status, told = await self(method, path, **more)
        return status, told["code"] if status > 299 else None


@pytest.fixture
async def clients(make_gateway, tmp_path):
    gateway = await make_gateway(keys_file=keys_file(tmp_path / "keys.toml", **KEYS))
    return {name: Client(gateway, name) for name in KEYS}


async def test_keys_and_privileges(clients, deployment):
    planner, submitter, root = (clients[name] for name in ("planner", "submitter", "root"))
    script = {"task": "scripts.run", "args": ["hello.sh"], "every": 60}

    for method, path in (("GET", ""), ("GET", "/x"), ("PUT", "/x"), ("POST", "/x/run")):
        assert await submitter.code(method, path, json=EVERY) == (403, "forbidden")
    assert await planner.code("PUT", "/x", json=script) == (403, "forbidden")
    assert await root.code("PUT", "/x?tenant=planner", json=script) == (201, None)
    assert await planner.code("PUT", "/x", json=EVERY) == (403, "forbidden")
    assert await planner.code("POST", "/x/run") == (403, "forbidden")
    assert await planner.code("DELETE", "/x") == (403, "forbidden")
    assert await planner.code("PUT", "/mine", json=EVERY) == (201, None)
    assert await clients["narrow"].code("POST", "/mine/run") == (403, "forbidden")
    assert await clients["narrow"].code("DELETE", "/mine") == (403, "forbidden")
    assert await planner.code("POST", "/mine/run") == (202, None)
    assert await planner.code("DELETE", "/mine") == (204, None)


async def test_names_are_a_tenants_own_and_admin_sees_all(clients, deployment, gateway):
    planner, other, root = (clients[name] for name in ("planner", "other", "root"))
    shipped = {"task": "demo.add", "schedule": {"__type__": "interval", "every": 9}}
    deployment.redis.hset("redbeat:shipped", "definition", json.dumps({"name": "s", **shipped}))
    deployment.redis.zadd("redbeat::schedule", {"redbeat:shipped": 4e9})
    for name in NAMES:
        path = f"/{quote(name, safe='')}"
        status, told = await planner("PUT", path, json={**EVERY, "every": 1000})
        assert (status, told.get("name"), told.get("tenant")) == (201, name, "planner"), told
        for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/run")):
            assert await other.code(method, path + more) == (404, "unknown-schedule"), name
        assert await other.code("PUT", path, json={**EVERY, "every": 2000}) == (201, None)
        assert (await planner("GET", path))[1]["every"] == 1000
        assert (await clients["colleague"]("GET", path))[1]["every"] == 1000

    async def listed(client: Client, query: str = "") -> list[tuple[str, str]]:
        status, told = await client("GET", query)
        assert status == 200
        return [(one["tenant"], one["name"]) for one in told["schedules"]]

    mine = sorted(("planner", name) for name in NAMES)
    theirs = sorted(("b", name) for name in NAMES)
    assert await listed(planner) == mine
    assert await listed(planner, "?tenant=planner") == mine
    assert await planner.code("GET", "?tenant=b") == (403, "forbidden")
    assert await planner.code("GET", "/lock?tenant=b") == (403, "forbidden")
    assert await planner.code("GET", "/shipped") == (404, "unknown-schedule")
    assert await listed(root) == [("admin", "shipped"), *theirs, *mine]
    assert await listed(root, "?tenant=b") == theirs
    assert await listed(root, "?tenant=admin") == [("admin", "shipped")]
    assert (await root("GET", "/shipped"))[1]["every"] == 9
    assert await root.code("GET", "/lock") == (404, "unknown-schedule")
    status, receipt = await root("POST", "/lock/run?tenant=b")
    assert status == 202
    state = await clients["other"]._gateway.get(
        f"/v1/tasks/{receipt['id']}", headers={"Authorization": "Bearer submitter"}
    )
    assert state.status == 404  # it is tenant b's
    assert await root.code("PUT", "/shipped", json={**EVERY, "every": 8}) == (200, None)
    assert deployment.redis.zscore("redbeat::schedule", "redbeat:shipped") < 4e9
    assert await root.code("DELETE", "/lock?tenant=b") == (204, None)
    assert (await planner("GET", "/lock"))[0] == 200

    for name in ODD_NAMES:
        for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/run")):
            for client in (planner, root):
                answer = await client.code(method, f"/{name}{more}")
                assert answer == (404, "unknown-schedule"), (name, answer)


async def test_a_tenant_called_admin_reaches_no_other_by_a_name(make_gateway, tmp_path, deployment):
    keys = keys_file(tmp_path / "keys.toml", admin=SCHEDULE, b=SCHEDULE)
    gateway = await make_gateway(keys_file=keys)
    admin, b = Client(gateway, "admin"), Client(gateway, "b")
    assert await b.code("PUT", "/x", json=EVERY) == (201, None)

    assert await admin.code("GET", "/@b%2Fx") == (404, "unknown-schedule")
    assert await admin.code("PUT", "/x", json=EVERY) == (201, None)
    assert set(deployment.redis.zrange("redbeat::schedule", 0, -1)) == {"redbeat:x", "redbeat:@b/x"}


async def test_the_schedules_of_a_key_that_may_no_longer_submit_are_suspended(
    make_gateway, tmp_path, deployment
):
    path = keys_file(tmp_path / "keys.toml", **KEYS)
    gateway = await make_gateway(keys_file=path)
    planner, colleague = Client(gateway, "planner"), Client(gateway, "colleague")
    await planner("PUT", "/x", json=EVERY)
    await colleague("PUT", "/kept", json={**EVERY, "every": 86_400})
    app = build_app(WorkerConfig.from_env(deployment.environment), load())
    read_before = PeriodicEntry.from_key("redbeat:@planner/x", app=app)

    for rest, reason in (
        (None, "is gone"),
        (f"{SCHEDULE}\ntasks = ['reports.*']", "does not allow task 'demo.add'"),
        ('scopes = ["submit"]', "lacks the scope"),
        ('tenant = "b"\nscopes = ["schedule"]', "another tenant"),
    ):
        changed = {**KEYS, "planner": rest} if rest else {**KEYS}
        if rest is None:
            del changed["planner"]
        keys_file(path, **changed)
        await eventually(lambda: _suspended(colleague, reason), 8)  # noqa: B023
        _, told = await colleague("GET", "/x")
        assert told["next_run_at"] is None
        assert told["enabled"] is True
        entry = PeriodicEntry.from_key("redbeat:@planner/x", app=app)
        assert not entry.is_due().is_due
        entry.plan()
        next(read_before)
        assert deployment.redis.zscore("redbeat::schedule", "redbeat:@planner/x") == -1
        assert "suspended" not in (await colleague("GET", "/kept"))[1]

        keys_file(path, **KEYS)
        await eventually(lambda: _suspended(colleague, None), 8)
        _, told = await colleague("GET", "/x")
        assert abs(unix(told["next_run_at"]) - time.time() - 1) < 9

    keys_file(path, **{name: rest for name, rest in KEYS.items() if name != "planner"})
    await eventually(lambda: _suspended(colleague, "is gone"), 8)
    assert await colleague.code("PUT", "/x", json=EVERY) == (200, None)  # it is hers now
    assert "suspended" not in (await colleague("GET", "/x"))[1]
    get_redis(app).close()


async def _suspended(client: Client, reason: str | None) -> bool:
    _, told = await client("GET", "/x")
    return (reason in told.get("suspended", "")) if reason else "suspended" not in told


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
