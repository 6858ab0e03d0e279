"""Long polls, and reads while Redis is away, hangs or comes back."""

import asyncio
import signal
import time

import pytest

from devstack.proxy import TcpProxy
from gateway.access.task_id import claims
from gateway.api import parts
from gateway.cancellation import stop
from gateway.telemetry.metrics import Metrics
from gateway.watching.stream_counts import StreamCounts
from gateway.watching.watch import Watch
from tests.support.states_seen import show
from tests.support.waiting import eventually

_STOP, _CONTINUE = signal.SIGSTOP, signal.SIGCONT


async def test_a_long_poll_ends_with_the_task(watching, issue, worker):
    task_id = issue()
    poll = asyncio.create_task(show(watching, task_id, "?wait=30"))
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 1)
    await worker.start(task_id)
    await worker.succeed(task_id)

    async with asyncio.timeout(5):
        status, body = await poll
    assert (status, body["state"]) == (200, "SUCCESS")
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 0)


async def test_a_long_poll_ends_with_its_time(watching, issue):
    started = time.monotonic()
    _, body = await show(watching, issue(), "?wait=0.3")

    assert body["state"] == "PENDING"
    assert 0.25 < time.monotonic() - started < 3


async def test_a_long_poll_for_many_waits_for_all_of_them(watching, issue, worker):
    ids = [issue() for _ in range(300)]
    poll = asyncio.create_task(watching.post("/v1/tasks/status?wait=30", json={"ids": ids}))
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 300)
    for task_id in ids:
        assert not poll.done()
        await worker.succeed(task_id)

    async with asyncio.timeout(5):
        tasks = (await (await poll).json())["tasks"]
    assert all(task["state"] == "SUCCESS" for task in tasks)


@pytest.mark.parametrize("wait", ["-1", "61", "x", "", "1e1", "nan"])
async def test_a_bad_wait_is_refused(watching, issue, wait):
    status, body = await show(watching, issue(), f"?wait={wait}")

    assert (status, body["code"]) == (400, "invalid-request")


async def test_without_redis_reads_are_refused_promptly(redis_server, watching, issue):
    task_id = issue()
    await redis_server.kill()
    try:
        started = time.monotonic()
        responses = [
            await watching.get(f"/v1/tasks/{task_id}"),
            await watching.get(f"/v1/tasks/{task_id}?wait=30"),
            await watching.post("/v1/tasks/status", json={"ids": [task_id]}),
            await watching.get(f"/v1/tasks/{task_id}/stream"),
            await watching.delete(f"/v1/tasks/{task_id}"),
        ]
        took_s = time.monotonic() - started
    finally:
        await redis_server.start()

    assert [response.status for response in responses] == [503] * 5
    assert all(response.headers["Retry-After"] for response in responses)
    assert (await responses[0].json())["code"] == "state-unavailable"
    assert took_s < 10
    await eventually(lambda: _reads(watching, task_id))


async def _reads(client, task_id):
    return (await client.get(f"/v1/tasks/{task_id}")).status == 200


async def test_a_redis_that_hangs_is_given_up_within_seconds(redis_server, watching, issue):
    redis_server.child.signal(_STOP)
    try:
        started = time.monotonic()
        response = await watching.get(f"/v1/tasks/{issue()}")
        took_s = time.monotonic() - started
    finally:
        redis_server.child.signal(_CONTINUE)

    assert response.status == 503
    assert took_s < 6


async def test_a_wait_outlasts_notices_that_come_back_later_than_redis(
    watching, issue, worker, redis_server
):
    app, task_id = watching.app, issue()
    async with TcpProxy(redis_server.port) as proxy:
        proxy.cut(refuse=True)
        url = proxy.url_through(redis_server.url)
        watch = Watch(url, app[parts.REDIS], app[parts.STATES], StreamCounts(Metrics(None)))
        notices = asyncio.create_task(watch.notices.looper.run())
        waiting = asyncio.create_task(watch.until_ended({task_id: claims(task_id)}, 30))
        done, _ = await asyncio.wait({waiting}, timeout=2)
        assert not done
        proxy.resume()
        await worker.succeed(task_id)

        async with asyncio.timeout(10):
            await waiting
        await stop(notices)
