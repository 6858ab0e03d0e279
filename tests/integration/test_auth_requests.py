"""Keys over HTTP: who gets in, to what, and how a changed file is taken."""

import asyncio
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.config import GatewayConfig
from tests.deployment.gateway import running_gateway
from tests.support.waiting import eventually

OPEN = ("/healthz", "/readyz", "/openapi.json", "/docs", "/")
ADD = {"task": "demo.add", "args": [1, 2]}
SCRIPT = {"task": "scripts.run", "args": ["hello.sh"]}
STORE = {"task": "documents.store", "args": ["system.js", [{"_id": "a"}]]}
CALLBACKS = {"exchange": "tasks", "routing_key": "callbacks"}
LISTS = {
    "submitter": 'scopes = ["submit"]',
    "reader": 'scopes = ["read"]',
    "ingester": 'scopes = ["ingest"]\ncollections = ["plant_*"]',
    "narrow": 'scopes = ["submit"]\ntasks = ["other.*"]\nqueues = ["default"]',
    "scripter": 'scopes = ["submit"]\ntasks = ["scripts.run"]',
    "elsewhere": 'scopes = ["submit"]\nqueues = ["high_priority"]',
    "chief": 'scopes = ["admin"]',
}


def keys(**entries: str) -> str:
    return "".join(
        f'[[key]]\nname = "{name}"\nsha256 = "{sha256(name.encode()).hexdigest()}"\n{more}\n'
        for name, more in entries.items()
    )


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(keys(**LISTS))
    return path


@pytest.fixture
async def client(amqp_url, redis_url, keys_file):
    config = GatewayConfig(amqp_url=amqp_url, redis_url=redis_url, keys_file=keys_file)
    async with running_gateway(config) as client:
        yield client


async def ask(client: Any, method: str, path: str, key: str | None, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with client.request(method, path, headers=headers, json=body) as answer:
        found = json.loads(await answer.text() or "null")
        return answer.status, found.get("code"), found.get("queued"), answer.headers


async def test_open_paths_need_no_key_and_all_others_do(client):
    for path in OPEN:
        async with client.get(path) as answer:
            assert answer.status == 200, path
    for method, path in (
        ("POST", "/v1/tasks"),
        ("POST", "/v1/tasks/bulk"),
        ("POST", "/v1/ingest/users"),
        ("GET", "/v1/topology"),
        ("GET", "/v1/queues"),
        ("POST", "/v1/broadcast"),
        ("GET", "/v1/dead-letters/default"),
        ("GET", "/metrics"),
        ("GET", "/v1/no/such/path"),
    ):
        for key in (None, "nobody"):
            status, code, queued, headers = await ask(client, method, path, key, ADD)
            assert (status, code, queued) == (401, "unauthenticated", "no"), path
            assert headers["WWW-Authenticate"] == "Bearer"
            assert headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("key", "method", "path", "body", "expected"),
    [
        ("submitter", "POST", "/v1/tasks", ADD, 202),
        ("chief", "POST", "/v1/tasks", ADD, 202),
        ("reader", "POST", "/v1/tasks", ADD, 403),
        ("narrow", "POST", "/v1/tasks", ADD, 403),
        ("elsewhere", "POST", "/v1/tasks", ADD, 403),
        ("elsewhere", "POST", "/v1/tasks", {**ADD, "options": {"queue": "high_priority"}}, 202),
        ("submitter", "POST", "/v1/broadcast", ADD, 403),
        ("submitter", "POST", "/v1/tasks", SCRIPT, 403),
        ("scripter", "POST", "/v1/tasks", SCRIPT, 202),
        ("chief", "POST", "/v1/tasks", SCRIPT, 202),
        ("scripter", "POST", "/v1/tasks", {**SCRIPT, "options": {"queue": "default"}}, 403),
        ("chief", "POST", "/v1/tasks", {**SCRIPT, "options": {"queue": "default"}}, 403),
        ("chief", "POST", "/v1/broadcast", SCRIPT, 403),
        ("chief", "POST", "/v1/broadcast", STORE, 403),
        ("chief", "POST", "/v1/tasks", STORE, 403),
        ("submitter", "POST", "/v1/tasks", STORE, 403),
        ("chief", "POST", "/v1/tasks?wait=1", STORE, 403),
        ("chief", "POST", "/v1/canvas", {"chain": [ADD, STORE]}, 403),
        ("chief", "POST", "/v1/canvas", {"group": [ADD, {"chain": [ADD, STORE]}]}, 403),
        ("chief", "POST", "/v1/canvas", {"chord": {"header": [ADD], "body": STORE}}, 403),
        ("chief", "POST", "/v1/canvas", {**ADD, "link": [STORE]}, 403),
        ("chief", "POST", "/v1/canvas", {**ADD, "link_error": [STORE]}, 403),
        ("chief", "PUT", "/v1/schedules/a", {**STORE, "every": 60}, 403),
        ("chief", "POST", "/v1/tasks", {**ADD, "options": {"queue": "callbacks"}}, 403),
        ("chief", "PUT", "/v1/schedules/a", {**ADD, "every": 60, "options": CALLBACKS}, 403),
        ("ingester", "POST", "/v1/ingest/plant_1", {"a": 1}, 202),
        ("ingester", "POST", "/v1/ingest/users", {"a": 1}, 403),
        ("submitter", "POST", "/v1/ingest/plant_1", {"a": 1}, 403),
        ("reader", "GET", "/v1/topology", None, 200),
        ("submitter", "GET", "/v1/topology", None, 403),
        ("reader", "GET", "/v1/dead-letters/default", None, 403),
        ("chief", "GET", "/v1/dead-letters/default", None, 200),
        ("reader", "POST", "/v1/dead-letters/default/replay", {"all": True}, 403),
    ],
)
async def test_a_key_may_do_what_its_scopes_and_lists_allow(
    client, key, method, path, body, expected
):
    status, code, queued, _ = await ask(client, method, path, key, body)

    assert status == expected
    if expected == 403:
        assert (code, queued) == ("forbidden", "no")


async def test_each_line_of_a_bulk_is_checked_alike(client):
    body = [ADD, STORE, {**SCRIPT, "options": {"queue": "default"}}]
    headers = {"Authorization": "Bearer chief"}
    async with client.post("/v1/tasks/bulk?outcomes=all", headers=headers, json=body) as answer:
        told = [(one["status"], one.get("code")) for one in await answer.json()]

    assert told == [(202, None), (403, "forbidden"), (403, "forbidden")]


async def test_a_changed_file_is_taken_without_a_restart(client, keys_file: Path):
    assert (await ask(client, "POST", "/v1/tasks", "submitter", ADD))[0] == 202
    await asyncio.to_thread(keys_file.write_text, keys(newcomer='scopes = ["submit"]'))

    async def taken() -> bool:
        return (await ask(client, "POST", "/v1/tasks", "newcomer", ADD))[0] == 202

    await eventually(taken)
    assert (await ask(client, "POST", "/v1/tasks", "submitter", ADD))[0] == 401
