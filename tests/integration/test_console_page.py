"""The console in a real browser, in front of a gateway alone: keys, the socket, the files."""

import asyncio
import json
import os
import shutil
import sys

import pytest

from devstack import console as building
from devstack.ports import free_port
from devstack.product import ROOT
from gateway.api import console, parts
from gateway.api.parts import WATCHING
from tests.browsing.console import built, console_page
from tests.support.waiting import eventually

ADD = "/submit?task=demo.add"


@pytest.fixture(autouse=True, scope="module")
def _built():
    assert building.build()


@pytest.fixture
async def gateway(make_gateway):
    client = await make_gateway()
    await eventually(lambda: client.app[parts.WATCHING].watch.online)
    return client


@pytest.fixture
async def page(gateway):
    async with console_page(f"http://127.0.0.1:{gateway.port}") as page:
        yield page


async def submit(page, kwargs='{"x": 2, "y": 3}'):
    """Submit what the open form is for, and return its id."""
    ids = "[...document.querySelectorAll('#sent li')].map((one) => one.id)"
    await page.fill("#field-kwargs", kwargs)
    before = await page.page.run(ids)
    await page.click("Submit", "#submit-form")

    async def more():
        found = await page.page.run(ids)
        return found if len(found) > len(before) else None

    return (await eventually(more, 10))[0]


async def shown(page, task_id, state, *more):
    row = f'[id="{task_id}"]'
    for words in (state, *more):
        await page.sees(words, row)


async def test_tasks_are_submitted_and_watched_to_their_end(page, worker):
    await page.open(ADD)
    one = await submit(page)
    await shown(page, one, "PENDING", "demo.add")
    await worker.start(one)
    await shown(page, one, "STARTED")
    await worker.progress(one, 4)
    await shown(page, one, "PROGRESS", "44 %", "step 4")
    await worker.succeed(one, 5)
    await shown(page, one, "SUCCESS", "5")

    two = await submit(page)
    await worker.start(two)
    await worker.fail(two, "<img src=x onerror=alert(1)>")
    await shown(page, two, "FAILURE", "ValueError: <img src=x onerror=alert(1)>")
    assert page.page.complaints == []


async def test_a_task_has_a_page_with_its_lines_and_can_be_revoked(page, worker):
    await page.open(ADD)
    one = await submit(page)
    await page.go(f"/tasks/{one}")
    await page.sees("PENDING")
    await page.click("Revoke")
    await page.confirm("Revoke 1 task", "One task")
    await page.sees("REVOKED", ".task-head")

    await page.go(ADD)
    two = await submit(page)
    await page.go(f"/tasks/{two}")
    await worker.start(two)
    await page.sees("STARTED", ".task-head")
    await worker.log(two, "one")
    await worker.log(two, "two")
    await page.sees("one\ntwo", ".lines")


async def test_a_task_that_is_not_tracked_says_so_and_why(make_gateway, tmp_path):
    layout = tmp_path / "layout.toml"
    layout.write_text(
        'extends = "default"\n[[routes]]\ntask = "demo.quiet"\nexchange = "tasks"\n'
        'routing_key = "default"\nignore_result = true\n'
    )
    client = await make_gateway(topology_file=layout)
    await built(check=True)
    async with console_page(f"http://127.0.0.1:{client.port}") as page:
        await page.open("/submit?task=demo.quiet")
        task = await submit(page)
        await shown(page, task, "NOT TRACKED", "ignore_result")
        await page.go(f"/tasks/{task}")
        await page.sees("NOT TRACKED", ".task-head")
        await page.sees("no single state")
        await page.click("Revoke")
        await page.confirm("Revoke 1 task")
        await page.sees("No worker starts it", ".toasts")
        assert await page.axe() == []
        assert all("503" in one for one in page.page.complaints)


async def test_it_connects_again_and_misses_nothing_and_says_when_it_cannot(gateway, page, worker):
    await page.open(ADD)
    one = await submit(page)
    [socket] = gateway.app[WATCHING].streams._sockets
    socket._transport.abort()
    await worker.start(one)
    await worker.succeed(one, "after all")
    await shown(page, one, "SUCCESS", '"after all"')

    await gateway.server.close()
    await page.sees("Out of touch", ".health")
    await page.sees("tries again by itself", "body")


async def test_with_keys_it_asks_for_one_and_shows_what_that_may(
    make_gateway, make_keys_file, worker
):
    client = await make_gateway(keys_file=make_keys_file(scopes=["submit", "read"]))
    async with console_page(f"http://127.0.0.1:{client.port}") as page:
        await page.open(ADD, online=False)
        await page.fill("#key", "another key")
        await page.click("Use", "#key-row")
        await page.sees("not accepted")
        await page.fill("#key", "the key")
        await page.click("Use", "#key-row")
        await page.sees("connected", ".health")
        await page.sees("read-only", ".who")
        one = await submit(page)
        await worker.succeed(one, 5)
        await shown(page, one, "SUCCESS")
        await page.go("/")
        await page.sees("default", "#queues")

        assert not await page.page.run("!!named('Pause')")
        assert not await page.page.run("document.documentElement.outerHTML.includes('the key')")
        assert all("401" in one or "503" in one for one in page.page.complaints)


async def test_what_others_send_is_shown_as_it_is_and_breaks_nothing(page, worker):
    await page.open(ADD)
    exact, long, turned, deep = [await submit(page) for _ in range(4)]
    await worker.succeed(exact, [9007199254740993, {"price": 1.5}])
    await worker.fail(long, "endless " * 100_000)
    await worker.fail(turned, "\u202egpj.exe \u05d0\u05d1\u05d2 <b>bold</b>")
    await worker.succeed(deep, json.loads("[" * 300 + "]" * 300))
    await shown(page, exact, "SUCCESS", '[9007199254740993,{"price":1.5}]')
    await shown(page, turned, "FAILURE", "<b>bold</b>")
    await shown(page, long, "FAILURE", "endless endless")
    assert len(await page.text(f'[id="{long}"]')) < 1000
    isolated = (
        f"getComputedStyle(document.querySelector('[id=\"{turned}\"] .bad-text')).unicodeBidi"
    )
    assert await page.page.run(isolated) == "isolate"
    for task, words in ((exact, "9007199254740993"), (long, "Show all of it"), (deep, "[[[[")):
        await page.go(f"/tasks/{task}")
        await page.sees(words)
    await page.go("/tasks/%E0%A4%A")
    await page.sees("Cannot show this task")
    await page.go("/tasks?worker=%FF")
    await page.sees("History is not available")
    await page.go("/queues/nowhere%")
    await page.sees("There is no queue")
    assert all("503" in one or "404" in one for one in page.page.complaints)


async def test_progress_beyond_what_a_double_holds_is_shown(page, worker):
    await page.open(ADD)
    one = await submit(page)
    await worker.start(one)
    await worker.store(one, "PROGRESS", {"current": 2**60, "total": 2**61})
    await shown(page, one, "PROGRESS", "50 %", f"{2**60} of {2**61}")
    await page.go(f"/tasks/{one}")
    await page.sees("50 %", "#task")


async def test_depths_that_are_not_known_are_not_called_none(page):
    await page.open("/")
    await page.sees("set RABBITMQ_MANAGEMENT_URL", "#queues")
    assert "ready" not in (await page.text("#queues header")).lower()
    await page.click("Pause")
    await page.confirm("Pause", "what waits and what is submitted wait")
    await page.sees("paused by", ".health")
    assert "0 messages" not in await page.text(".health")
    await page.click("Resume")
    await page.confirm("Resume", "Workers go on.")


async def test_a_task_shown_again_and_again_stays_watched(page, worker):
    await page.open(ADD)
    one = await submit(page)
    # What would happen five seconds later happens when the test says so.
    await page.page.run(
        "window.late = []; window.setTimeout = ((real) => (done, ms, ...more) =>"
        " ms === 5000 ? late.push(done) : real(done, ms, ...more))(window.setTimeout)"
    )

    async def look_away(times):
        await page.go("/api")
        await eventually(lambda: page.page.run(f"late.length === {times}"))

    async def look():
        await page.go(f"/tasks/{one}")
        await page.sees("PENDING", ".task-head")

    await look_away(1)
    await look()
    await look_away(2)
    await page.page.run("late[0]()")
    await look()
    await page.page.run("late[1]()")
    await worker.start(one)
    await page.sees("STARTED", ".task-head")


async def test_a_server_that_is_away_is_named_and_nothing_known_before_is_told(make_gateway):
    client = await make_gateway(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with console_page(f"http://127.0.0.1:{client.port}") as page:
        await page.open("/", online=False)
        await page.sees("Redis is away.", ".health")
        text = await page.text(".health")
        assert "Workers\nunknown:\nnot known" in text
        assert "Scheduler\nunknown:\nnot known" in text
        assert "loops" not in text


async def test_the_page_and_its_files_are_strict_small_and_kept(make_keyed_gateway):
    client = await make_keyed_gateway()
    page = await client.get("/")
    text = await page.text()
    names = [part.split('"')[0] for part in text.split("/static/")[1:]]
    assert {name.rpartition(".")[2] for name in names} == {"js", "css", "woff2"}
    assert "<script>" not in text
    size = int(page.headers["Content-Length"])
    files = [path.name for path in console.BUILT.iterdir()]
    for name in files:
        response = await client.get(f"/static/{name}")
        if name in {"index.html", ".built-from"}:
            assert response.status == 404
            continue
        size += int(response.headers["Content-Length"])
        etag = {"If-None-Match": response.headers["ETag"]}
        assert response.status == 200
        assert "immutable" in response.headers["Cache-Control"]
        assert (await client.get(f"/static/{name}", headers=etag)).status == 304
    for response in (page, await client.get(f"/static/{names[0]}")):
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-cache"
    assert size < 200_000


async def test_the_page_of_another_release_gets_the_files_of_this_one(make_keyed_gateway):
    client = await make_keyed_gateway()
    text = await (await client.get("/")).text()
    for kind in ("js", "css"):
        [name] = [path.name for path in console.BUILT.glob(f"console-*.{kind}")]
        own, other = [await client.get(f"/static/{one}") for one in (name, f"console-OLD7.{kind}")]
        assert (other.status, await other.read()) == (200, await own.read())
        assert other.headers["Cache-Control"] == "no-cache"
        assert "immutable" in own.headers["Cache-Control"]
    for name in ("console-OLD7.txt", "console-.js", "other-OLD7.js", "inter-OLD7.woff2"):
        assert (await client.get(f"/static/{name}")).status == 404
    assert "The console is loading" in text

    async with console_page(f"http://127.0.0.1:{client.port}") as page:
        await page.open("/", online=False)
        await page.sees("wants a key")
        assert "is loading" not in await page.text("body")


async def test_without_a_build_the_page_says_why(tmp_path):
    """A checkout whose npm reaches no registry and has nothing in its cache."""
    for folder in ("devstack", "console"):
        left_out = shutil.ignore_patterns("node_modules", "dist", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left_out)
    offline = {"npm_config_registry": "http://127.0.0.1:9", "npm_config_cache": str(tmp_path / "c")}
    command = [sys.executable, "-m", "devstack.console"]
    building_it = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, env={**os.environ, **offline}
    )
    assert await building_it.wait() == 1

    answer = console._read(tmp_path / "console" / "dist")[0]
    assert b"npm-cli.js ci" in answer.body or b"npm ci" in answer.body
    assert b"The console is not built" in answer.body
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_the_reference_is_for_everybody_and_leads_to_trying_it_out(page, gateway):
    await built(check=True)
    await page.page.open(f"{page.url}/docs")
    await page.page.run(
        "document.querySelectorAll('details').forEach((one) => { one.open = true })"
    )
    for scheme in ("light", "dark"):
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        await page.page.call("Emulation.setEmulatedMedia", features=media)
        assert await page.axe() == []
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    await page.page.call("Emulation.setDeviceMetricsOverride", **phone)
    assert await page.page.run("document.documentElement.scrollWidth") <= 390

    [link] = await page.page.run(
        "[...document.querySelectorAll('details')].filter((one) => one.querySelector('summary')"
        ".innerText.startsWith('POST /v1/tasks —')).map((one) => one.querySelector('p a').hash)"
    )
    await page.open(link.removeprefix("#"))
    await page.sees("POST", "#try")
    assert await page.axe() == []
    await page.fill("#try-body", '{"task": "demo.add", "args": [1, 2]}')
    await page.click("Send", "#try")
    await page.confirm("Send 1 request")
    await page.sees("202 Accepted", "#answer")
    await page.sees('"task": "demo.add"', "#answer")


async def test_the_types_of_its_sources_are_checked():
    await built(check=True)
    building.node_script("typescript/bin/tsc", "--noEmit")
