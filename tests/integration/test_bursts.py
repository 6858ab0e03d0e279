"""Many messages of one request are given up when none is confirmed, not when all take long."""

import asyncio
from io import BytesIO
from typing import Any, Final

import orjson
import pytest

from devstack.proxy import Direction, TcpProxy
from tests.integration.test_answers_in_time import JSON
from tests.integration.test_bulk_request import GOOD, NDJSON, depth

TIMEOUT_S: Final = 2.0
NARROW: Final = 600_000
"""Octets each second: what is written at once takes more than two timeouts."""
TASKS: Final = 5_000
TASK_LIST: Final = b",".join([GOOD] * TASKS)
MEMBERS: Final = 3_000
DOCUMENTS: Final = 4_000
DOCUMENT: Final = orjson.dumps({"text": "x" * 900})


@pytest.fixture
async def gateway(make_gateway, proxy, amqp_url):
    return await make_gateway(amqp_url=proxy.url_through(amqp_url), confirm_timeout_s=TIMEOUT_S)


async def send(gateway: Any, proxy: TcpProxy, path: str, body: bytes, kind: dict[str, str]) -> Any:
    """Send a request over the narrow line; its status and the last line of its answer."""
    loop = asyncio.get_running_loop()
    proxy.narrow(NARROW, Direction.TO_SERVER)
    began = loop.time()
    async with gateway.post(path, data=BytesIO(body), headers=kind) as answer:
        lines = (await answer.read()).splitlines()
    assert loop.time() - began > TIMEOUT_S * 2  # else nothing was late
    return answer.status, orjson.loads(lines[-1])


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        (JSON, b"[%b]" % TASK_LIST, (202, [])),
        (
            NDJSON,
            TASK_LIST.replace(b"},{", b"}\n{"),
            (207, {"summary": {"accepted": TASKS, "rejected": 0}}),
        ),
    ],
    ids=["array", "stream"],
)
async def test_many_tasks(gateway, proxy, amqp_url, kind, body, told):
    assert await send(gateway, proxy, "/v1/tasks/bulk?outcomes=none", body, kind) == told
    assert await depth(amqp_url) == TASKS


async def test_a_canvas(gateway, proxy, amqp_url):
    body = b'{"group":[%b]}' % b",".join([GOOD] * MEMBERS)
    status, told = await send(gateway, proxy, "/v1/canvas", body, JSON)
    assert (status, len(told.get("ids", ()))) == (202, MEMBERS), told
    assert await depth(amqp_url) == MEMBERS


async def test_many_documents(gateway, proxy):
    body = b"\n".join([DOCUMENT] * DOCUMENTS)
    status, told = await send(gateway, proxy, "/v1/ingest/readings", body, NDJSON)
    assert (status, told.get("accepted")) == (202, DOCUMENTS), told
