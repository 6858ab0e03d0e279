"""Whose schedule it is: keys, tenants, and a key that may no longer submit."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redbeat.schedulers import get_redis

from penstock.worker.beat.schedule_entries import PeriodicEntry
from penstock.worker.beat.seeds import Seeds
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.support.schedules_seen import EVERY, ODD_NAMES, unix
from tests.support.waiting import eventually
from topology.layout import load


def keys_file(path: Path, **keys: str) -> Path:
    """A keys file; the clear text of each key is its name."""
    tables = []
    for name, rest in keys.items():
        digest = hashlib.sha256(name.encode()).hexdigest()
        tables.append(f'[[key]]\nname = "{name}"\nsha256 = "{digest}"\n{rest}\n')
    path.write_text("".join(tables))
    return path


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
        assert await submitter.code(method, path, json=EVERY if method == "PUT" else None) == (
            403,
            "forbidden",
        )
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


async def test_a_name_that_celery_made_of_arguments_can_be_switched_off(clients, deployment):
    root, planner = clients["root"], clients["planner"]
    config = WorkerConfig(amqp_url=deployment.amqp_url, redis_url=deployment.redis_url)
    app = build_app(config, load())
    app.add_periodic_task(3600, app.signature("demo.add", ("/srv/a", "/srv/b")))
    Seeds(app).sow()
    get_redis(app).close()
    name = "demo.add('/srv/a', '/srv/b')"
    path = f"/{quote(name, safe='')}"
    off = {"task": "demo.add", "args": [1, 2], "every": 3600, "enabled": False}

    assert await planner.code("PUT", path, json=off) == (400, "invalid-request")
    assert await root.code("PUT", path, json=off) == (200, None)
    assert (await root("GET", path))[1]["enabled"] is False
    assert await root.code("DELETE", path) == (204, None)
    assert await root.code("PUT", path, json=off) == (400, "invalid-request")


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
