"""No secret in any log line or answer of processes whose servers are away or refuse them."""

import asyncio
import json
import os
import secrets
import sys
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest

from devstack.ports import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
AWAY = "127.0.0.1:1"


@pytest.fixture
def hush() -> dict[str, str]:
    """Secrets by name, each recognisable wherever it turns up."""
    names = ("amqp", "redis", "mongo", "management", "callback", "key", "ticket", "script")
    return {name: f"hush{secrets.token_hex(12)}" for name in names}


def environ(hush: dict[str, str], log: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(log.parent),
        "PYTHONPATH": str(ROOT),
        "AMQP_URL": f"amqp://someone:{hush['amqp']}@{AWAY}/a-vhost",
        "REDIS_URL": f"redis://someone:{hush['redis']}@{AWAY}/0",
        "MONGO_URL": f"mongodb://someone:{hush['mongo']}@{AWAY}/a-database",
        "RABBITMQ_MANAGEMENT_URL": f"http://someone:{hush['management']}@{AWAY}",
        **more,
    }


async def run(log: Path, *command: str, env: dict[str, str]) -> asyncio.subprocess.Process:
    with log.open("wb") as file:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, env=env, stdout=file, stderr=file, cwd=log.parent
        )


def told(hush: dict[str, str], *texts: str) -> set[str]:
    """Names of the secrets that turn up."""
    return {name for name, secret in hush.items() if any(secret in text for text in texts)}


async def provoke(url: str, hush: dict[str, str]) -> list[str]:
    """All the answers to requests that go wrong in every way."""
    key = {"Authorization": f"Bearer {hush['key']}"}
    task = {"task": "demo.add", "args": [1, 2]}
    ticket, unknown = hush["ticket"], "018f0000-0000-7000-8000-000000000000-0000000000000000"
    requests = [
        ("GET", "/readyz", {}, None),
        ("GET", "/metrics", key, None),
        ("GET", "/v1/queues", key, None),
        ("GET", "/v1/dead-letters/default", key, None),
        ("GET", "/v1/schedules", key, None),
        ("GET", f"/v1/tasks/{unknown}", key, None),
        ("GET", f"/v1/tasks/{unknown}/stream?ticket={ticket}", {}, None),
        ("GET", f"/v1/stream?ticket={ticket}", {}, None),
        ("DELETE", f"/v1/tasks/{unknown}?terminate=true", key, None),
        ("POST", "/v1/tasks", key, task),
        ("POST", "/v1/tasks", {"Authorization": f"Bearer {hush['key']}x"}, task),
        ("POST", "/v1/tasks", {"Authorization": f"Basic {hush['key']}"}, task),
        ("POST", "/v1/tasks", {"Authorization": hush["key"]}, task),
        ("POST", "/v1/tasks", key | {"Idempotency-Key": "once"}, task),
        ("POST", "/v1/tasks", key | {"Content-Type": "text/plain"}, task),
        ("POST", "/v1/tasks", key | {"Content-Encoding": "gzip"}, task),
        ("POST", "/v1/tasks", key, [task]),
        ("POST", "/v1/tasks/bulk", key | {"Content-Type": "application/x-ndjson"}, task),
        ("POST", "/v1/ingest/a", key, {"$bad": 1}),
        ("POST", "/v1/ingest/a", key, {"good": 1}),
        ("POST", "/v1/canvas", key, {"chain": [task, task]}),
        ("POST", "/v1/broadcast", key, task),
        ("POST", "/v1/tickets", key, {"ids": [unknown]}),
        ("POST", "/v1/tasks", key, {**task, "options": {"callback_url": "https://allowed.example/"}}),
        ("POST", "/v1/tasks", key, {**task, "options": {"callback_url": "https://other.example/"}}),
    ]  # fmt: skip
    answers = []
    async with aiohttp.ClientSession() as session:
        for method, path, headers, body in requests:
            async with session.request(
                method,
                url + path,
                headers={"Content-Type": "application/json", **headers},
                data=json.dumps(body) if body else None,
            ) as answer:
                answers.append(f"{answer.status} {dict(answer.headers)} {await answer.text()}")
    port = int(url.rpartition(":")[2])
    for octets in (
        f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {hush['key']}\0\r\n\r\n",
        f"GET /?ticket={ticket} HTTP/7\r\n\r\n",
        f"POST / HTTP/1.1\r\nAuthorization: Bearer {hush['key']}\r\nTransfer-Encoding: x\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(octets.encode())
        answers.append((await reader.read()).decode())
        writer.close()
    return answers


@pytest.mark.parametrize("servers", ["away", "refusing"])
async def test_a_gateway_in_trouble_tells_no_secret(servers, hush, tmp_path, rabbit, redis_server):
    keys, log = tmp_path / "keys.toml", tmp_path / "log"
    digest = sha256(hush["key"].encode()).hexdigest()
    keys.write_text(f'[[key]]\nname = "one"\nsha256 = "{digest}"\nscopes = ["admin"]\n')
    port = free_port()
    more = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_KEYS_FILE": str(keys),
        "TASK_ID_KEYS": f"1:{hush['script'].encode().hex()}",
        "CALLBACK_HOSTS": "allowed.example",
        "CALLBACK_SECRET": hush["callback"],
        "DRAIN_TIMEOUT_S": "1",
    }
    if servers == "refusing":
        more["AMQP_URL"] = f"amqp://penstock:{hush['amqp']}@127.0.0.1:{rabbit.port}/"
        more["REDIS_URL"] = f"redis://:{hush['redis']}@127.0.0.1:{redis_server.port}/0"
    gateway = await run(log, "gateway", env=environ(hush, log, **more))
    try:
        await eventually(lambda: '"listening"' in log.read_text(), timeout_s=20)
        answers = await provoke(f"http://127.0.0.1:{port}", hush)
        await eventually(lambda: '"loop":"catalog"' in log.read_text(), timeout_s=20)
    finally:
        gateway.terminate()
        await asyncio.wait_for(gateway.wait(), 20)

    assert all(not answer.startswith("500") for answer in answers), answers
    text = log.read_text()
    assert len(text.splitlines()) > 3
    assert told(hush, text, *answers) == set()
    assert hush["script"].encode().hex() not in text
    assert digest not in text


async def test_a_gateway_that_cannot_start_tells_no_secret(hush, tmp_path):
    log = tmp_path / "log"
    faulty = {
        "TASK_ID_KEYS": f"99:{hush['script']}",
        "CALLBACK_SECRET": hush["callback"],
        "MAX_TASK_BYTES": "many",
        "GATEWAY_PORT": "0",
    }
    gateway = await run(log, "gateway", env=environ(hush, log, **faulty))

    assert await asyncio.wait_for(gateway.wait(), 20) == 2
    assert "TASK_ID_KEYS" in log.read_text()
    assert told(hush, log.read_text()) == set()


@pytest.mark.parametrize("program", ["worker", "beat"])
async def test_a_worker_or_beat_in_trouble_tells_no_secret(program, hush, tmp_path):
    log = tmp_path / "log"
    options = ("--pool=threads", "-c1") if program == "worker" else ("-s", str(tmp_path / "beat"))
    process = await run(
        log, "celery", "-A", "tasks.worker", program, "-l", "debug", *options,
        env=environ(hush, log),
    )  # fmt: skip
    try:
        await eventually(
            lambda: "Error 111" in log.read_text() or "Cannot connect" in log.read_text(),
            timeout_s=40,
        )
    finally:
        process.kill()
        await process.wait()

    assert told(hush, log.read_text()) == set()
