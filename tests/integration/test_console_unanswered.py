"""What the console does about a change that got no answer: it says so, and repeats it once only."""

import aio_pika
import pytest

from devstack import console as building
from devstack.proxy import Direction, TcpProxy
from tests.browsing.console import Console, console_page
from tests.support.waiting import eventually

WATCH = """
window.sent = [];
window.patience = [];
const real = window.fetch;
window.fetch = (path, options) => {
  if (options.headers['Idempotency-Key']) sent.push([path, options.headers['Idempotency-Key']]);
  return real(path, options);
};
const timeout = AbortSignal.timeout.bind(AbortSignal);
AbortSignal.timeout = (ms) => { patience.push(ms); return timeout(ms); };
"""
PERHAPS = "It may have been done: look before you repeat it."


@pytest.fixture(autouse=True, scope="module")
def _built():
    """Build before a gateway starts: it serves what it has read then."""
    assert building.build()


@pytest.fixture
async def proxy(gateway):
    async with TcpProxy(gateway.port) as proxy:
        yield proxy


@pytest.fixture
async def page(proxy):
    async with console_page(f"http://127.0.0.1:{proxy.port}") as page:
        await page.open("/submit?task=demo.add")
        await page.page.run(WATCH)
        yield page


@pytest.fixture
async def waiting(amqp_url):
    """Count the messages that wait in the queue."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()

        async def count(queue: str = "default") -> int:
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.message_count or 0

        yield count


async def keys_of(page: Console, path: str) -> list[str]:
    sent = await page.page.run("sent")
    return [key for one, key in sent if one == path]


async def test_a_submit_without_an_answer_is_one_task_when_it_is_sent_again(page, proxy, waiting):
    await page.fill("#field-kwargs", '{"x": 2, "y": 3}')
    proxy.stall(Direction.TO_CLIENT)
    await page.click("Submit 1 task", "#submit-form")

    async def published() -> bool:
        return await waiting() == 1

    await eventually(published, 10)
    proxy.cut(refuse=True)
    await page.sees(PERHAPS, "#problem")
    proxy.resume()
    await page.click("Submit 1 task", "#submit-form")
    await page.sees("PENDING", "#sent")
    assert await waiting() == 1
    await page.click("Submit 1 task", "#submit-form")
    two = "document.querySelectorAll('#sent li').length === 2"
    await eventually(lambda: page.page.run(two), 10)
    assert await waiting() == 2

    keys = await keys_of(page, "/v1/tasks")
    assert keys[0] == keys[1] != keys[2]
    assert 65_000 in await page.page.run("patience")


async def test_a_purge_without_an_answer_is_begun_once(page, proxy, gateway):
    await page.go("/queues/default")
    for _ in range(2):
        body = {"task": "demo.add", "args": [1, 2]}
        assert (await gateway.post("/v1/tasks", json=body)).status == 202
    await page.click("Purge")
    await page.sees("will end REVOKED", "dialog")
    proxy.stall(Direction.TO_CLIENT)
    await page.click("Purge", "dialog")

    async def operations() -> list[str]:
        found = await (await gateway.get("/v1/operations")).json()
        return [one["operation"] for one in found["operations"]]

    first = await eventually(operations, 10)
    proxy.cut(refuse=True)
    await page.sees(PERHAPS, "dialog")
    proxy.resume()
    await page.click("Purge", "dialog")
    await page.sees("Purging", ".toasts")
    keys = await keys_of(page, "/v1/queues/default/purge")
    assert keys[0] == keys[1]
    assert await operations() == first
