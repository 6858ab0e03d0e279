"""Cheap requests do not cost much: whatever a body holds, its bytes are worked through quickly, in
slices, and no longer than its client stays. In processor time, as a ratio to a yardstick."""

import asyncio
import contextlib
import gc
import gzip
import time

import pytest

from bench.hostile import BODIES, MIB, NDJSON, Hostile, filled
from gateway.api import parts
from gateway.http.listener import READ_BUFFER_BYTES
from gateway.server import spare_the_collector
from tests.deployment.gateway import running_gateway
from tests.deployment.sockets import Socket
from tests.support.cost import YARDSTICK_MS, LongestTurn, exchange, yardstick
from tests.support.waiting import eventually

MARGIN = 2.0
"""Tests beside this one share caches and processors; what is hunted here was ten times too much."""


@pytest.fixture
def spared():
    """Python's collector as the gateway sets it: the tests' own objects are a large heap."""
    thresholds = gc.get_threshold()
    spare_the_collector()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.fixture
async def gateway(amqp_url, redis_url, spared):
    async with running_gateway(amqp_url=amqp_url, redis_url=redis_url) as gateway:
        yield gateway


async def test_no_body_costs_more_than_its_bytes_and_lines(gateway):
    size = 256 * 1024
    unit_s = yardstick()
    base = min([await exchange(gateway.port, SMALL) for _ in range(5)], key=lambda one: one.cpu_s)
    dear = {}
    for name, make in BODIES.items():
        hostile = make(size)
        request = hostile.request()
        found = await exchange(gateway.port, request)
        accepted, refused = found.counts()
        each_us = 30 if "/tasks" in hostile.path else 15
        octets = max(size, len(request))  # framing that holds nothing counts, too
        allowed_ms = 50 * octets / MIB + (each_us * accepted + 5 * refused) / 1000
        cost_ms = (found.cpu_s - base.cpu_s) / unit_s * YARDSTICK_MS
        if cost_ms > MARGIN * allowed_ms + 2:
            dear[name] = (round(cost_ms), round(allowed_ms), found.status)

    assert not dear


SMALL = Hostile(path="/v1/ingest/hostile", body=b"{}").request()


async def test_no_body_holds_the_loop_for_long(gateway):
    unit_s = yardstick()
    long = {}
    for name, make in BODIES.items():
        request = make(256 * 1024).request()
        turns = []
        for _ in range(2):
            with LongestTurn() as turn:
                await exchange(gateway.port, request)
            turns.append(turn.cpu_s)
        slice_ms = min(turns) / unit_s * YARDSTICK_MS
        if slice_ms > 8 * MARGIN:
            long[name] = round(slice_ms)

    assert not long


def _nested(size):
    return filled(b"[[[[[1]]]]],", size, b'[{"a":[', b"1]}]")


@pytest.mark.parametrize(
    "request_octets",
    [
        Hostile(
            path="/v1/ingest/a", packed=True, body=filled(b" ", 16 * MIB, tail=b"{}")
        ).request(),
        Hostile(path="/v1/tasks/bulk", body=_nested(16 * MIB)).request(),
        Hostile(path="/v1/ingest/a", body=_nested(8 * MIB))
        .request()
        .replace(b"\r\n", b"\r\nIdempotency-Key: once\r\n", 1),
    ],
    ids=["a small body of much", "one task, too large", "one document, read twice"],
)
async def test_a_large_value_does_not_hold_the_loop_either(gateway, request_octets):
    unit_s = yardstick()
    with LongestTurn() as turn:
        found = await exchange(gateway.port, request_octets)

    assert found.status in {202, 207, 422}
    assert turn.cpu_s / unit_s * YARDSTICK_MS < 20 * MARGIN


@pytest.mark.parametrize(
    "body",
    [
        Hostile(path="/v1/ingest/a?on_error=skip", media_type=NDJSON, packed=True,
                body=filled(b"nope\n", 4 * MIB)),
        Hostile(path="/v1/tasks/bulk?outcomes=none", media_type=NDJSON, packed=True,
                body=filled(b"{}\n", 4 * MIB)),
        Hostile(path="/v1/ingest/a?on_error=skip", packed=True,
                body=filled(b"[[[[[1]]]]],", 24 * MIB, b"[", b"1]")),
        Hostile(path="/v1/tasks/bulk", packed=True, body=filled(b"1,", 16 * MIB, b"[", b"1]")),
    ],
    ids=["ingest", "bulk", "array", "bulk array"],
)  # fmt: skip
async def test_the_work_ends_when_the_client_leaves(gateway, body):
    app = gateway.app
    metrics = app[parts.FRONT].metrics
    socket = await Socket.to(gateway.port)
    await socket.write(body.request())
    await eventually(lambda: metrics.requests_in_flight == 1)
    busy_s = 4 * yardstick()
    started = time.thread_time()
    while time.thread_time() - started < busy_s:  # noqa: ASYNC110  # the loop must turn freely
        await asyncio.sleep(0)
    assert metrics.requests_in_flight == 1
    socket.close()
    left = time.thread_time()
    while metrics.requests_in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0)

    assert (time.thread_time() - left) / yardstick() * YARDSTICK_MS < 100 * MARGIN
    assert app[parts.INTAKE].held.total == 0


async def test_many_bodies_at_once_have_one_slice_between_two_looks_at_the_sockets(gateway):
    request = Hostile(
        path="/v1/ingest/a?on_error=skip",
        media_type=NDJSON,
        packed=True,
        body=filled(b"x\n", MIB // 16),
    ).request()
    unit_s = yardstick()
    with LongestTurn() as turn:
        await asyncio.gather(*(exchange(gateway.port, request) for _ in range(12)))

    assert turn.cpu_s / unit_s * YARDSTICK_MS < 20 * MARGIN


@pytest.mark.parametrize(
    "media_type", ["application/x-ndjson", "application/ndjson", "application/jsonl"]
)
@pytest.mark.parametrize("path", ["/v1/ingest/a", "/v1/tasks/bulk"])
@pytest.mark.parametrize("packed", [False, True])
async def test_a_byte_order_mark_is_no_part_of_the_first_line(gateway, path, media_type, packed):
    line = '{"task":"demo.add","args":[1,2]}\n'.encode("utf-8-sig")
    found = await exchange(
        gateway.port,
        Hostile(path=path, media_type=media_type, packed=packed, body=line).request(),
    )

    assert found.counts() == (1, 0)


@pytest.mark.parametrize("chunk_bytes", [0, 1, 2])
@pytest.mark.parametrize("text", ['{"n":1}', '[{"n":1}]'])
async def test_a_byte_order_mark_is_skipped_before_json(gateway, text, chunk_bytes):
    body = text.encode("utf-8-sig")
    found = await exchange(
        gateway.port, Hostile(path="/v1/ingest/a", body=body, chunk_bytes=chunk_bytes).request()
    )

    assert (found.status, found.counts()) == (202, (1, 0))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
@pytest.mark.parametrize("path", ["/v1/ingest/a", "/v1/tasks", "/v1/tasks/bulk", "/v1/canvas"])
async def test_another_encoding_is_named(gateway, path, encoding):
    body = Hostile(path=path, body='[{"task":"demo.add"}]'.encode(encoding)).request()
    found = await exchange(gateway.port, body)

    assert found.status == 400
    assert b"UTF-16" in found.answer or b"UTF-32" in found.answer


async def test_an_array_answers_as_far_as_there_is_room(gateway, amqp_url, redis_url):
    async with running_gateway(
        amqp_url=amqp_url, redis_url=redis_url, max_body_bytes_held=2 * MIB
    ) as small:
        body = Hostile(path="/v1/tasks/bulk", body=filled(b"{},", 300_000, b"[", b"{}]"))
        found = await exchange(small.port, body.request())
        accepted, refused = found.counts()

        assert found.status == 207
        assert accepted == 0
        assert 1000 < refused < 100_000
        assert b'"overloaded"' in found.answer[-300:]
        assert small.app[parts.INTAKE].held.total == 0


async def test_unfinished_frames_are_counted_and_bounded(gateway, redis_url):
    async with running_gateway(redis_url=redis_url, max_body_bytes_held=4 * MIB) as small:
        held = small.app[parts.INTAKE].held
        sockets = []
        for _ in range(8):
            socket = await Socket.to(small.port)
            await socket.write(UPGRADE)
            assert (await socket.answer()).status == 101
            # 900,000 octets of a frame of a million.
            await socket.write(b"\x81\xff" + (1_000_000).to_bytes(8, "big") + b"mask")
            with contextlib.suppress(ConnectionError):
                await socket.write(b"x" * 900_000)
            sockets.append(socket)

        await eventually(lambda: held.total > 3 * MIB)
        assert held.total <= 4 * MIB
        ends = [await socket.end(5) for socket in sockets[5:]]
        assert all(b"overloaded" in end for end in ends)
        for socket in sockets:
            socket.close()
        await eventually(lambda: held.total == 0)


UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + b"A" * 22 + b"==\r\n\r\n"
)


async def test_a_body_of_tiny_chunks_is_ended_and_one_of_small_lines_is_not(gateway):
    tiny = Hostile(path="/v1/ingest/a", media_type=NDJSON, chunk_bytes=1, body=filled(b"x", MIB))
    lines = Hostile(
        path="/v1/ingest/a", media_type=NDJSON, chunk_bytes=8, body=filled(b'{"n":1}\n', MIB // 4)
    )

    refused = await exchange(gateway.port, tiny.request())
    taken = await exchange(gateway.port, lines.request())

    assert refused.status == 400
    assert b"chunks" in refused.answer
    assert taken.status == 202


_TINY_CHUNKS = Hostile(
    path="/v1/ingest/a", media_type=NDJSON, chunk_bytes=1, body=filled(b"x", 2 * MIB)
).request()


@pytest.mark.parametrize(
    "request_octets",
    [_TINY_CHUNKS, _TINY_CHUNKS[: MIB // 8] + b"no size" + _TINY_CHUNKS[MIB // 8 :]],
    ids=["tiny chunks", "no chunks"],
)
async def test_who_still_sends_when_the_body_is_ended_gets_the_answer(gateway, request_octets):
    socket = await Socket.to(gateway.port)
    await socket.write(request_octets)  # fails when the connection is reset meanwhile

    assert (await socket.answer()).status == 400
    assert await socket.end() == b""
    await eventually(lambda: not gateway.listener.connections)
    socket.close()


async def test_who_never_stops_sending_is_cut(gateway):
    socket = await Socket.to(gateway.port)
    with pytest.raises(ConnectionError):
        await socket.write(_TINY_CHUNKS * 12)
    socket.close()


async def test_a_pause_that_the_parser_makes_late_ends_as_well(gateway):
    head = Hostile(path="/v1/ingest/a", media_type=NDJSON, chunk_bytes=1, body=b"").request()
    chunk, end = b'8\r\n{"n":1}\n\r\n', b"0\r\n\r\n"
    most = READ_BUFFER_BYTES // 16  # `aiohttp.StreamReader` pauses the parser behind one more
    socket = await Socket.to(gateway.port)
    await socket.write(head.removesuffix(end) + chunk * (most + 1))

    def taken():
        requests = [one._current_request for one in gateway.listener.connections]
        return [one.content.total_bytes for one in requests if one and not one.content._buffer]

    await eventually(lambda: taken() == [8 * (most + 1)])
    await socket.write(chunk + end)

    assert (await socket.answer()).status == 202
    socket.close()


def test_the_gzip_of_the_bodies_is_gzip():
    assert gzip.decompress(BODIES["blank lines, gzip"](1000).sent) == b"\n" * 1000
