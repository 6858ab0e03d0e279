"""Pages of somebody else in a real browser on this machine: none drives a gateway without keys."""

import json
from typing import Any

import aio_pika
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.api import parts
from gateway.api.parts import WATCHING
from tests.browsing.browser import browser_page
from tests.support.waiting import eventually

TASK = {"task": "demo.add", "args": [1, 2]}
ATTEMPTS = """(async () => {
  const gateway = "GATEWAY", task = 'TASK', id = "ID", told = {};
  const attempt = async (name, run) => {
    try { told[name] = await run(); } catch (error) { told[name] = "refused"; }
  };
  const post = (path, options) => fetch(gateway + path, {method: "POST", body: task, ...options});
  const opens = (source) => new Promise((resolve) => {
    source.onopen = () => resolve("open");
    source.onerror = () => { source.close(); resolve("refused"); };
  });
  const json = {"Content-Type": "application/json"};
  const blind = {mode: "no-cors"};
  await attempt("text", () => post("/v1/tasks", {...blind}));
  await attempt("form", () => post("/v1/tasks", {...blind, body: new URLSearchParams({task})}));
  await attempt("blob", () => post("/v1/tasks", {...blind, body: new Blob([task])}));
  await attempt("ndjson", () => post("/v1/tasks/bulk", {...blind, body: task + "\\n"}));
  await attempt("document", () => post("/v1/ingest/a", {...blind, body: '{"a":1}'}));
  await attempt("bodiless", () => post("/v1/schedules/a/run", {...blind, body: null}));
  await attempt("json", () => post("/v1/tasks", {headers: json}));
  await attempt("read", async () => (await fetch(gateway + "/v1/tasks/" + id)).text());
  await attempt("delete", () => fetch(gateway + "/v1/tasks/" + id, {method: "DELETE"}));
  await attempt("beacon", () => navigator.sendBeacon(gateway + "/v1/tasks", task) && "sent");
  await attempt("socket", () =>
    opens(new WebSocket(gateway.replace("http", "ws") + "/v1/stream?ids=" + id, "penstock.v1")));
  await attempt("events", () => opens(new EventSource(gateway + "/v1/tasks/" + id + "/stream")));
  await attempt("submit", () => {
    const frame = document.createElement("iframe");
    const form = document.body.appendChild(document.createElement("form"));
    const field = form.appendChild(document.createElement("input"));
    frame.name = form.target = "into";
    document.body.appendChild(frame);
    form.action = gateway + "/v1/tasks";
    form.method = "POST";
    form.enctype = "text/plain";
    field.name = task.replace(/}$/, ',"options":{"headers":{"a":"');
    field.value = '"}}}';
    form.submit();  // what comes of it the page never learns
  });
  return JSON.stringify(told);
})()"""
"""Every way of a page to send something, as far as it can learn what became of it."""
SENT = 13
"""Requests that reach the gateway: of `json` and `delete` it is the question whether they may."""
OWN = """(async () => {
  const headers = {"Content-Type": "application/json"};
  const answers = [
    await fetch("/v1/tasks", {method: "POST", body: 'TASK', headers}),
    await fetch("/v1/tasks", {method: "POST", body: 'TASK'}),
  ];
  return JSON.stringify(answers.map((answer) => answer.status));
})()"""
REBOUND = """(async () => {
  const headers = {"Content-Type": "application/json"};
  const answers = [
    await fetch("/v1/tasks", {method: "POST", body: 'TASK', headers}),
    await fetch("/v1/schedules"), await fetch("/"), await fetch("/healthz"),
  ];
  return JSON.stringify(answers.map((answer) => answer.status));
})()"""


async def count(amqp_url: str) -> int:
    """Count what is in the queues."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        found = 0
        for name in ("default", "mongo_queue", "scripts", "periodic"):
            queue = await channel.declare_queue(name, passive=True)
            found += queue.declaration_result.message_count or 0
        return found


async def page_server(_request: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>x</title><body>", content_type="text/html")


@pytest.fixture
async def elsewhere():
    app = web.Application()
    app.router.add_get("/", page_server)
    async with TestServer(app) as server:
        yield server


@pytest.fixture
async def gateway(make_gateway):
    client = await make_gateway()
    await eventually(lambda: client.app[parts.WATCHING].watch.online)
    return client


async def attempts(page: Any, address: str, task_id: str) -> Any:
    script = ATTEMPTS.replace("GATEWAY", address).replace("ID", task_id)
    return await run(page, script)


async def all_refused(gateway: Any, requests: int) -> None:
    """Wait until so many were refused: of some the page learns nothing."""
    refusals = gateway.app[parts.FRONT].metrics.refusals
    await eventually(lambda: refusals["forbidden-origin"] >= requests)


async def run(page: Any, script: str) -> Any:
    return json.loads(await page.run(script.replace("TASK", json.dumps(TASK))))


async def test_a_page_of_another_origin_has_no_effect(gateway, elsewhere, amqp_url):
    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
    async with browser_page() as page:
        for turn, host in enumerate(("127.0.0.1", "localhost", "app.localhost"), 1):
            await page.open(f"http://{host}:{elsewhere.port}/")
            told = await attempts(page, f"http://127.0.0.1:{gateway.port}", task_id)

            # Blind requests end without an answer that the page may see; all others fail.
            assert [told[name] for name in ("json", "read", "delete", "socket", "events")] == [
                "refused"
            ] * 5
            await all_refused(gateway, SENT * turn)

        assert await count(amqp_url) == 0
        assert not len(gateway.app[WATCHING].streams)
        state = await (await gateway.get(f"/v1/tasks/{task_id}")).json()
        assert state["state"] == "PENDING"  # not revoked

        # The same requests of the gateway's own page: what is sent as it should be arrives.
        await page.open(f"http://127.0.0.1:{gateway.port}/")
        own = await run(page, OWN)
        assert own == [202, 415]
        assert await count(amqp_url) == 1


async def test_a_name_that_was_made_to_point_here_is_not_served(gateway, amqp_url):
    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
    rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    async with browser_page(rebound) as page:
        await page.open(f"http://evil.example:{gateway.port}/healthz")
        told = await attempts(page, f"http://evil.example:{gateway.port}", task_id)
        statuses = await run(page, REBOUND)

    assert statuses == [421, 421, 421, 200]  # of its own origin, as the browser sees it
    assert (told["socket"], told["events"]) == ("refused", "refused")
    assert '"unknown-host"' in told["read"]
    assert await count(amqp_url) == 0
