"""Feeds below the sockets: subscriptions at awkward moments, and a Redis that falls silent."""

import asyncio
import gc
import socket
import statistics
import struct
import tracemalloc
from functools import partial

import pytest

from devstack.proxy import TcpProxy
from gateway.access.task_id import claims
from gateway.api import parts
from gateway.api.parts import WATCHING
from gateway.watching.stream_parts import StreamLimits
from tests.support.stream_client import Stream
from tests.support.waiting import eventually


class Told:
    """A client that keeps what it is told, and may act on it."""

    backlog = 0

    def __init__(self):
        self.events = []
        self.then = None

    def send(self, event):
        self.events.append(event)
        if self.then is not None:
            asyncio.get_running_loop().call_soon(self.then)
            self.then = None

    async def drain(self):
        pass


async def test_a_subscription_made_as_the_last_first_state_was_told_is_told_too(watching, issue):
    sink = Told()
    feed = watching.app[parts.WATCHING].watch.feed(sink)
    first, second = issue(), issue()
    sink.then = lambda: feed.subscribe({second: (None, "")})
    feed.subscribe({first: (None, "")})

    await eventually(lambda: [event.task_id for event in sink.events] == [first, second])
    feed.close()


class Leaving(Told):
    """A client that leaves before it has read anything."""

    backlog = 1 << 20

    async def drain(self):
        raise ConnectionError("Connection lost")


async def test_a_client_that_leaves_amid_its_first_states_is_no_fault(watching, issue, caplog):
    notices = watching.app[parts.WATCHING].watch.notices
    sink = Leaving()
    feed = watching.app[parts.WATCHING].watch.feed(sink)
    feed.subscribe({issue(): (None, "") for _ in range(3)})

    await eventually(lambda: sink.events and len(notices) == 0)
    assert len(sink.events) == 1
    assert [one for one in caplog.records if getattr(one, "loop", None) == "feeds"] == []
    feed.close()


async def test_subscribing_and_leaving_in_every_order_leaves_nothing(watching, issue, worker):
    notices = watching.app[parts.WATCHING].watch.notices
    ids = [issue() for _ in range(20)]
    feeds = [watching.app[parts.WATCHING].watch.feed(Told()) for _ in range(10)]
    for turn in range(200):
        feed = feeds[turn % 10]
        feed.subscribe(dict.fromkeys(ids[turn % 7 :: 3], (None, "")))
        feed.unsubscribe(ids[turn % 5 :: 2])
        if turn % 4:
            await asyncio.sleep(0)
    for feed in feeds:
        feed.close()

    await eventually(lambda: len(notices) == 0)

    async def no_channels():
        return await worker.client.pubsub_channels() == []

    await eventually(no_channels)


async def test_watchers_that_come_and_go_leave_no_objects(watching, issue):
    def objects():
        gc.collect()
        kinds = ("Subscription", "Topic", "Batch", "Feed", "Socket", "EventSource")
        return sum(type(one).__name__ in kinds for one in gc.get_objects())

    async def come_and_go():
        for _ in range(30):
            async with watching.ws_connect(f"/v1/stream?ids={issue()},{issue()}") as ws:
                await Stream(ws).take(2)

    await come_and_go()
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 0)
    before = objects()
    await come_and_go()
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 0)

    assert objects() <= before + 4


@pytest.mark.parametrize("end", [TcpProxy.stall, partial(TcpProxy.cut, refuse=True)])
async def test_a_redis_that_falls_silent_is_noticed_and_nothing_is_missed(
    make_watching_gateway, redis_server, redis_url, worker, end
):
    async with TcpProxy(redis_server.port) as proxy:
        client = await make_watching_gateway(redis_url=proxy.url_through(redis_url))
        task_id = client.app[parts.ACCESS].task_ids.issue("anonymous")
        async with client.ws_connect(f"/v1/stream?ids={task_id}") as ws:
            stream = Stream(ws)
            await stream.next()
            end(proxy)
            await eventually(lambda: not client.app[parts.WATCHING].watch.online, 20)
            await worker.succeed(task_id)
            proxy.resume()
            told = await stream.take(2, timeout_s=15)

    assert [message["type"] for message in told] == ["gap", "state"]
    assert told[1]["state"] == "SUCCESS"


_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def _reset(writer):
    writer.transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


@pytest.mark.parametrize("vanish", [_reset, asyncio.StreamWriter.close])
@pytest.mark.parametrize("until", [b"PENDING", b"HTTP/1.1", b""])
@pytest.mark.parametrize(
    ("path", "headers"), [("/v1/stream?ids={}", _UPGRADE), ("/v1/tasks/{}/stream", "")]
)
async def test_clients_that_vanish_leave_nothing_for_the_collector(
    make_watching_gateway, caplog, path, headers, until, vanish
):
    client = await make_watching_gateway(StreamLimits(comment_every_s=0.1))
    task_id = client.app[parts.ACCESS].task_ids.issue("anonymous")
    request = f"GET {path.format(task_id)} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()
    kinds = ("Socket", "EventSource", "Feed", "Request", "RequestHandler", "Topic")

    def kept():
        return [type(one) for one in gc.get_objects() if type(one).__name__ in kinds]

    gc.collect()
    gc.disable()
    try:
        before = len(kept())
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
            writer.write(request)
            if until:
                await reader.readuntil(until)
            vanish(writer)
        await eventually(lambda: len(client.app[WATCHING].streams) == 0)
        await eventually(lambda: len(kept()) <= before)
    finally:
        gc.enable()
    complaints = {"aiohttp.server", "asyncio", "gateway.middlewares"}
    assert [one for one in caplog.records if one.name in complaints] == []


@pytest.fixture
def traced():
    """What Python holds for watching, octets; the rest of the process comes and goes."""
    ours = tracemalloc.Filter(True, "*/gateway/watching/*")

    def octets():
        gc.collect()
        snapshot = tracemalloc.take_snapshot().filter_traces([ours])
        return sum(trace.size for trace in snapshot.traces)

    tracemalloc.start()
    yield octets
    tracemalloc.stop()


async def test_memory_grows_with_the_ids_of_a_client_and_with_its_clients_and_no_faster(
    watching, issue, traced
):
    watch = watching.app[parts.WATCHING].watch

    async def octets_each(ids, clients):
        # What else goes on in the process gets and frees memory as well, not each time.
        return statistics.median([await octets_once(ids, clients) for _ in range(3)])

    async def octets_once(ids, clients):
        feeds = [watch.feed(Uninterested()) for _ in range(clients)]
        before = traced()
        for feed in feeds:
            feed.subscribe({task_id: (claims(task_id), "") for task_id in ids})
        for feed in feeds:
            await feed.settle()
        assert watch.notices.listeners == len(ids) * clients
        held = traced() - before
        for feed in feeds:
            feed.close()
        await eventually(lambda: len(watch.notices) == 0)
        return held / (len(ids) * clients)

    ids = [issue() for _ in range(1500)]
    few, many = await octets_each(ids[:300], 1), await octets_each(ids, 1)
    alone, crowd = await octets_each(ids[:1], 30), await octets_each(ids[:1], 300)

    assert 100 < many < min(1.25 * few, 1200)
    assert 100 < crowd < min(1.25 * alone, 1200)


class Uninterested:
    """A client that keeps nothing."""

    backlog = 0

    def send(self, event):
        """Let it go."""

    async def drain(self):
        """Nothing is ever queued."""
