"""The page at `/`, in a real browser."""

import json

import pytest

from gateway.api import parts
from gateway.api.parts import WATCHING
from tests.browser import browser_page
from tests.waiting import eventually


@pytest.fixture
async def gateway(make_gateway):
    client = await make_gateway()
    await eventually(lambda: client.app[parts.WATCHING].watch.online)
    return client


@pytest.fixture
async def page(tmp_path):
    async with browser_page(tmp_path) as page:
        yield page


def address(client):
    return f"http://127.0.0.1:{client.port}/"


async def rows(page):
    script = """JSON.stringify([...document.querySelectorAll('#tasks tr')].map((row) => ({
        id: row.id, task: row.cells[0].textContent, state: row.cells[2].textContent,
        progress: row.querySelector('progress')?.value ?? null, result: row.cells[4].textContent,
        buttons: row.querySelectorAll('button').length})))"""
    return json.loads(await page.run(script))


async def first_row(page, **wanted):
    async def there():
        found = await rows(page)
        assert found, await page.run("document.getElementById('problem').textContent")
        assert found[0] | wanted == found[0]
        return found[0]

    return await eventually(there, 10)


async def submit(page, form):
    await page.run(f"document.querySelector('#{form} button').click()")


async def test_tasks_are_submitted_and_watched_to_their_end(gateway, page, worker):
    await page.open(address(gateway))
    await submit(page, "add")
    row = await first_row(page, state="PENDING", task="demo.add")
    await worker.start(row["id"])
    await first_row(page, state="STARTED")
    await worker.succeed(row["id"], 5)
    await first_row(page, state="SUCCESS", result="5", buttons=0)

    await submit(page, "progress")
    row = await first_row(page, state="PENDING", task="demo.progress")
    await worker.start(row["id"])
    await worker.progress(row["id"], 4)
    await first_row(page, state="PROGRESS", progress=4)
    await worker.fail(row["id"], "<img src=x onerror=alert(1)>")
    await first_row(page, state="FAILURE", result="ValueError: <img src=x onerror=alert(1)>")
    assert page.complaints == []


async def test_lines_of_output_are_shown(gateway, page, worker):
    await page.open(address(gateway))
    await submit(page, "add")
    row = await first_row(page, state="PENDING")
    await worker.start(row["id"])
    await first_row(page, state="STARTED")
    await worker.log(row["id"], "one")
    await worker.log(row["id"], "two")
    await first_row(page, result="one\ntwo\n")


async def test_a_task_is_revoked_from_the_page(gateway, page):
    await page.open(address(gateway))
    await submit(page, "add")
    await first_row(page, state="PENDING", buttons=1)
    await page.run("document.querySelector('#tasks button').click()")

    await first_row(page, state="REVOKED", buttons=0)
    assert page.complaints == []


async def test_the_page_connects_again_and_misses_nothing(gateway, page, worker):
    await page.open(address(gateway))
    await submit(page, "add")
    row = await first_row(page, state="PENDING")
    [socket] = gateway.app[WATCHING].streams._sockets
    socket._transport.abort()
    await worker.start(row["id"])
    await worker.succeed(row["id"], "after all")

    await first_row(page, state="SUCCESS", result='"after all"')


async def test_with_keys_the_page_asks_for_one_and_streams_by_ticket(
    make_gateway, make_keys_file, page, worker
):
    client = await make_gateway(keys_file=make_keys_file(scopes=["submit", "read"]))
    await page.open(address(client))
    await eventually(lambda: page.run("!document.getElementById('key-row').hidden"))
    await page.run("document.getElementById('key').value = 'the key'")
    await submit(page, "key-row")
    await eventually(
        lambda: page.run("document.getElementById('connection').dataset.state == 'open'")
    )
    await submit(page, "add")
    row = await first_row(page, state="PENDING")
    await worker.succeed(row["id"], 5)

    await first_row(page, state="SUCCESS")
    assert not await page.run("document.documentElement.outerHTML.includes('the key')")
    assert all("401" in complaint for complaint in page.complaints)


async def test_the_shell_is_open_strict_and_small(make_keyed_gateway):
    client = await make_keyed_gateway()
    size = 0
    for path in ("/", "/static/page.js", "/static/style.css"):
        response = await client.get(path)
        policy = response.headers["Content-Security-Policy"]
        body = await response.text()
        size += int(response.headers["Content-Length"])
        again = await client.get(path, headers={"If-None-Match": response.headers["ETag"]})

        assert response.status == 200
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http://" not in body
        assert "https://" not in body
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert again.status == 304
    assert size < 20_000
