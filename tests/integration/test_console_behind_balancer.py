"""The console behind a balancer, which answers for a gateway that it does not reach."""

import pytest
from aiohttp import web

from devstack import console as building
from tests.browsing.console import console_page, submit
from tests.support.balancer import Balancer, passing, unreachable
from tests.support.waiting import eventually


@pytest.fixture(autouse=True, scope="module")
def _built():
    """Build before a gateway starts: it serves what it has read then."""
    assert building.build()


@pytest.fixture
async def balancer(gateway):
    async with Balancer(f"http://127.0.0.1:{gateway.port}") as balancer:
        yield balancer


@pytest.fixture
async def page(balancer):
    async with console_page(balancer.url) as page:
        yield page


MARK = "document.querySelector('.health').className"


async def test_a_page_of_the_balancer_is_no_answer_of_the_gateway(page, balancer):
    await page.open("/submit?task=demo.add")
    await page.sees("RabbitMQ\nready", ".health")
    await page.fill("#field-kwargs", '{"x": 2, "y": 3}')
    balancer.answer = unreachable
    await balancer.lose()

    await page.sees("Out of touch", ".health")
    await page.sees("Out of touch with the gateway", ".touch")
    text = await page.text(".health")
    assert await page.page.run(MARK) == "health off"
    assert "RabbitMQ\nunknown:\nnot known" in text
    assert "Workers\nunknown:\nnot known" in text
    await page.click("Submit 1 task", "#submit-form")
    await page.sees("The gateway does not answer. It may have been done", "#problem")

    balancer.answer = passing
    await page.sees("RabbitMQ\nready", ".health")
    assert "Out of touch" not in await page.text("body")


async def test_all_is_not_well_while_readiness_is_not_answered(page, balancer):
    await page.open("/")
    await page.sees("RabbitMQ\nready", ".health")
    balancer.answer = lambda request: (
        unreachable(request, 500) if request.path == "/readyz" else None
    )

    await page.sees("Not known", ".verdict")
    assert await page.page.run(MARK) == "health off"


async def test_all_is_not_well_while_problems_are_not_answered(page, balancer):
    await page.open("/")
    await page.sees("All is well", ".verdict")
    balancer.answer = lambda request: (
        unreachable(request, 500) if request.path == "/v1/problems" else None
    )

    await page.sees("Problems are not known", ".verdict")
    assert await page.page.run(MARK) == "health warn"


async def test_a_gateway_that_has_not_read_its_keys_again_costs_no_typed_form(
    make_gateway, make_keys_file
):
    client = await make_gateway(keys_file=make_keys_file(scopes=["submit", "read"]))
    typed = '{"x": 2, "y": 3}'
    async with (
        Balancer(f"http://127.0.0.1:{client.port}") as balancer,
        console_page(balancer.url) as page,
    ):
        await page.open("/submit?task=demo.add", online=False)
        await page.fill("#key", "the key")
        await page.click("Use", "#key-row")
        await page.fill("#field-kwargs", typed)
        refused: list[str] = []

        def once(request):
            if request.path != "/v1/problems" or refused:
                return None
            refused.append(request.path)
            body = {"status": 401, "code": "unauthorized", "detail": "no such key"}
            return web.json_response(body, status=401)

        balancer.answer = once
        await eventually(lambda: refused, 10)
        before = balancer.count("/v1/problems")
        await eventually(lambda: balancer.count("/v1/problems") > before, 10)
        value = "document.querySelector('#field-kwargs')?.value"
        assert await page.page.run(value) == typed

        balancer.answer = lambda request: (
            web.json_response({"code": "unauthorized", "detail": "no"}, status=401)
            if request.path.startswith("/v1/")
            else None
        )
        await page.sees("The key was not accepted")


async def test_older_tasks_that_cannot_be_had_are_asked_for_once(page, balancer):
    first, older = "01900000-0000-7000-8000-000000000002", "01900000-0000-7000-8000-000000000001"
    pages = {True: {"tasks": [{"id": older, "task": "demo.older", "state": "SUCCESS"}]}}
    pages[False] = {"tasks": [{"id": first, "task": "demo.first", "state": "SUCCESS"}]}

    def history(request, *, away):
        if request.path != "/v1/tasks":
            return None
        cursor = "cursor" in request.query
        if cursor and away:
            return unreachable(request)
        return web.json_response({**pages[cursor], "next": None if cursor else "c"})

    balancer.answer = lambda request: history(request, away=True)
    await page.open("/tasks")
    await page.sees("Cannot show older tasks")
    listed = balancer.count("/v1/tasks?limit")
    await eventually(lambda: balancer.count("/v1/tasks?limit") >= listed + 2, 15)
    assert balancer.count("cursor=") == 1
    await page.sees("Cannot show older tasks")

    balancer.answer = lambda request: history(request, away=False)
    await page.click("Try again")
    await page.sees("demo.older", ".t-tasks")
    assert "Cannot show" not in await page.text()


async def test_a_long_operation_is_followed_over_answers_that_fail(page, balancer, gateway):
    for number in range(2):
        await submit(gateway, "demo.add", number, 1)
    await page.open("/queues/default")
    balancer.answer = lambda request: (
        unreachable(request) if "/v1/operations/" in request.path else None
    )
    await page.click("Purge")
    await page.confirm("Purge", "will end REVOKED")
    await eventually(lambda: balancer.count("/v1/operations/") >= 2, 10)

    balancer.answer = passing
    await page.sees("2 of 2 done", ".toasts")
