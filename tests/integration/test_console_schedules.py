"""What the console says of the last run of a schedule: of that run, and as it is now."""

from datetime import timedelta

import pytest
from aiohttp import web

from devstack import console as building
from gateway.timestamps import rfc3339
from tests.browsing.console import console_page, submit
from tests.support.balancer import Balancer
from tests.support.history_documents import NOW, document
from tests.support.waiting import eventually

ROW = '.t-schedules [role="row"][aria-rowindex="{}"]'


@pytest.fixture(autouse=True, scope="module")
def _built():
    """Build before a gateway starts: it serves what it has read then."""
    assert building.build()


@pytest.fixture
async def gateway(make_gateway, history):
    return await make_gateway(**history.fields)


def schedule(name, task):
    """Return a schedule that ran just now, as it is listed."""
    return {
        "name": name, "tenant": "anonymous", "task": task, "args": [], "kwargs": {}, "options": {},
        "enabled": True, "last_run_at": rfc3339(NOW.timestamp()), "next_run_at": None,
        "total_runs": 1, "every": 3600.0,
    }  # fmt: skip


@pytest.fixture
async def balancer(gateway):
    """Beat has run some schedules."""
    rows = [schedule("a", "demo.add"), schedule("b", "demo.echo"), schedule("c", "demo.fail")]
    rows += [schedule(f"far {number}", f"far.{number}") for number in range(60)]

    def listed(request):
        if request.path != "/v1/schedules":
            return None
        return web.json_response({"schedules": rows})

    async with Balancer(f"http://127.0.0.1:{gateway.port}") as balancer:
        balancer.answer = listed
        yield balancer


async def test_the_outcome_of_a_last_run_is_of_it_and_goes_on(gateway, history, worker, balancer):
    tasks = history.database.tasks
    ours = await submit(gateway, "demo.add", 1, 2)
    await worker.start(ours)
    at = NOW + timedelta(seconds=1)
    await tasks.insert_one(document(ours, state="STARTED", at=at))
    for name in ("another", "and another"):
        await tasks.insert_one(document(name, task="demo.echo", at=at))

    async with console_page(balancer.url) as page:
        await page.open("/schedules")
        await page.sees("STARTED", ROW.format(2))
        await worker.succeed(ours)
        await page.sees("SUCCESS", ROW.format(2), 3)

        await eventually(lambda: balancer.count("task=demo.echo") > 0)
        await eventually(lambda: balancer.count("task=demo.fail") > 0)
        assert "SUCCESS" not in await page.text(ROW.format(3))
        await tasks.insert_one(document("late", task="demo.fail", state="REVOKED", at=at))
        await page.sees("REVOKED", ROW.format(4), 20)

        assert balancer.count("task=demo.echo") == 1
        assert balancer.count("task=far.59") == 0
