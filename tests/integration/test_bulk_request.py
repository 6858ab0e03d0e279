"""POST /v1/tasks/bulk against a real broker: one outcome a line, in order, whatever the client."""

import asyncio
import gzip
import http.client
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aio_pika
import pytest

from gateway.api import parts
from gateway.api.bulk_answer import MAX_BUFFERED_BYTES
from tests.support.waiting import eventually

NDJSON = {"Content-Type": "application/x-ndjson"}
GOOD = b'{"task":"demo.add","args":[1,2]}'


async def ids_in(amqp_url: str, queue: str = "default") -> list[str]:
    """The ids of all messages in a queue, in order, taking them out."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        source = await channel.get_queue(queue)
        found = []
        while (message := await source.get(fail=False)) is not None:
            await message.ack()
            found.append(str(message.message_id))
        return found


async def depth(amqp_url: str, queue: str = "default") -> int:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_outcomes_come_in_the_order_of_the_lines(gateway, amqp_url):
    body = b"\n".join(
        [GOOD, b'{"task":"nobody.knows"}', b"", GOOD, b"{", b'{"task":"demo.add","x":1}', GOOD]
    )
    response = await gateway.post("/v1/tasks/bulk?outcomes=all", data=body, headers=NDJSON)
    *outcomes, summary = lines_of(await response.text())

    assert response.status == 207
    assert response.content_type == "application/x-ndjson"
    assert response.headers["X-Request-Id"]
    assert [(one["line"], one["status"], one.get("code")) for one in outcomes] == [
        (1, 202, None), (2, 404, "unknown-task"), (4, 202, None), (5, 400, "malformed-json"),
        (6, 400, "invalid-request"), (7, 202, None),
    ]  # fmt: skip
    assert {one["queued"] for one in outcomes if one["status"] != 202} == {"no"}
    assert summary == {"summary": {"accepted": 3, "rejected": 3}}
    assert await ids_in(amqp_url) == [one["id"] for one in outcomes if one["status"] == 202]


async def test_only_failures_are_told_unless_asked_for(gateway):
    body = GOOD + b"\n" + b'{"task":"nobody.knows"}\n'
    for query, expected in (("", [2]), ("?outcomes=errors", [2]), ("?outcomes=none", [])):
        response = await gateway.post(f"/v1/tasks/bulk{query}", data=body, headers=NDJSON)
        *outcomes, summary = lines_of(await response.text())

        assert [one["line"] for one in outcomes] == expected
        assert summary == {"summary": {"accepted": 1, "rejected": 1}}


async def test_an_array_is_answered_by_an_array(gateway, amqp_url):
    good = json.loads(GOOD)
    every = await gateway.post("/v1/tasks/bulk", json=[good] * 3)
    mixed = await gateway.post("/v1/tasks/bulk", json=[good, 5, {"task": "nobody.knows"}])
    none = await gateway.post("/v1/tasks/bulk", json=[])

    outcomes = await every.json()
    assert (every.status, [one["status"] for one in outcomes]) == (202, [202] * 3)
    assert mixed.status == 207
    assert [one["status"] for one in await mixed.json()] == [202, 400, 404]
    assert (none.status, await none.json()) == (202, [])
    assert (await ids_in(amqp_url))[:3] == [one["id"] for one in outcomes]


async def test_an_array_that_is_not_json_publishes_nothing(gateway, amqp_url):
    for body in (b"{}", b"", b"[" + GOOD, b"[" + GOOD + b",{]", b"[" + GOOD + b",nope]", b"[]x"):
        response = await gateway.post(
            "/v1/tasks/bulk", data=body, headers={"Content-Type": "application/json"}
        )

        problem = await response.json()
        assert (response.status, problem["code"]) == (400, "malformed-json"), body
        assert ("the body is empty" in problem["detail"]) is (body == b"")
        assert problem["errors"] == [{"at": "$", "detail": problem["detail"]}]
    assert await ids_in(amqp_url) == []


async def test_a_stream_of_no_lines_has_a_summary(gateway):
    for empty in (b"", b"\n \r\n"):
        response = await gateway.post("/v1/tasks/bulk", data=empty, headers=NDJSON)

        assert response.status == 207
        assert lines_of(await response.text()) == [{"summary": {"accepted": 0, "rejected": 0}}]


async def test_a_line_has_a_bound_and_costs_no_other(make_gateway):
    gateway = await make_gateway(max_task_bytes=500)
    long = b'{"task":"demo.add","args":["' + b"x" * 100_000 + b'"]}'
    response = await gateway.post(
        "/v1/tasks/bulk?outcomes=all", data=b"\n".join([GOOD, long, GOOD]), headers=NDJSON
    )
    *outcomes, _ = lines_of(await response.text())

    assert [one["status"] for one in outcomes] == [202, 413, 202]
    assert outcomes[1]["code"] == "body-too-large"


async def test_gzip_is_expanded_and_its_damage_told_behind_what_was_accepted(gateway):
    packed = gzip.compress((GOOD + b"\n") * 10_000)
    headers = {**NDJSON, "Content-Encoding": "gzip"}
    whole = await gateway.post("/v1/tasks/bulk", data=packed, headers=headers)
    cut = await gateway.post("/v1/tasks/bulk", data=packed[:-50], headers=headers)
    never = await gateway.post("/v1/tasks/bulk", data=b"no gzip", headers=headers)

    assert lines_of(await whole.text()) == [{"summary": {"accepted": 10_000, "rejected": 0}}]
    damage, summary = lines_of(await cut.text())
    accepted = summary["summary"]["accepted"]
    assert 0 < accepted < 10_000
    assert (damage["line"], damage["code"]) == (accepted + 1, "malformed-json")
    assert (never.status, (await never.json())["code"]) == (400, "malformed-json")


async def test_all_outcomes_stream_while_the_client_is_still_sending(gateway):
    told = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield GOOD + b"\n"
        await told.wait()
        yield GOOD + b"\n"

    async with asyncio.timeout(20):
        response = await gateway.post("/v1/tasks/bulk?outcomes=all", data=body(), headers=NDJSON)
        first = await response.content.readline()
        told.set()
        second, summary = lines_of(await response.text())

    assert json.loads(first)["line"] == 1
    assert second["line"] == 2
    assert summary == {"summary": {"accepted": 2, "rejected": 0}}


def half_duplex(port: int, query: str, body: Iterator[bytes]) -> tuple[int, bytes]:
    """Send everything, then read: what http.client and many others do."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        connection.request("POST", f"/v1/tasks/bulk{query}", body=body, headers=NDJSON)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("thousands", [40, pytest.param(400, marks=pytest.mark.long)])
async def test_a_half_duplex_client_sends_many_lines_without_blocking(gateway, amqp_url, thousands):
    part = (GOOD + b"\n") * 999 + b'{"task":"nobody.knows"}\n'
    status, text = await asyncio.to_thread(
        half_duplex, gateway.port, "", (part for _ in range(thousands))
    )
    *outcomes, summary = lines_of(text.decode())

    assert status == 207
    assert [one["line"] for one in outcomes] == list(range(1000, thousands * 1000 + 1, 1000))
    assert summary == {"summary": {"accepted": thousands * 999, "rejected": thousands}}
    assert await eventually(lambda: _is(depth(amqp_url), thousands * 999))


async def _is(question, expected) -> bool:
    return bool(await question == expected)


@pytest.mark.timeout(300)
async def test_errors_beyond_the_buffer_are_counted_for_a_client_that_does_not_read(gateway):
    line = b'{"task":"nobody.knows"}' + b" " * 200  # more than sockets hold: sending must wait
    part = (line + b"\n") * 1000
    status, text = await asyncio.to_thread(
        half_duplex, gateway.port, "", (part for _ in range(100))
    )
    *outcomes, last = lines_of(text.decode())
    summary = last["summary"]

    assert status == 207
    told = [one["line"] for one in outcomes]
    assert told == sorted(set(told))
    assert len(text) >= MAX_BUFFERED_BYTES
    assert summary["rejected"] == 100_000 == len(outcomes) + summary["omitted"]


@pytest.mark.timeout(300)
async def test_a_slow_reader_of_all_outcomes_slows_the_sender(gateway):
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        line = b'{"task":"nobody.knows"}' + b" " * 800  # more than sockets hold, both ways
        for _ in range(100):
            yield (line + b"\n") * 1000
            sent += 1000

    async with asyncio.timeout(280):
        response = await gateway.post("/v1/tasks/bulk?outcomes=all", data=body(), headers=NDJSON)
        settled = -1
        while settled != sent:  # the sender has come to rest
            settled = sent
            await asyncio.sleep(1)
        assert settled < 100_000
        text = await response.text()

    assert lines_of(text)[-1] == {"summary": {"accepted": 0, "rejected": 100_000}}
    assert text.count("\n") == 100_001


async def test_a_client_that_vanishes_leaves_a_prefix(gateway, amqp_url):
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /v1/tasks/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        b"Content-Length: 1000000\r\n\r\n"
    )
    writer.write((GOOD + b"\n") * 1000 + GOOD[:10])
    await writer.drain()
    await eventually(lambda: _is(depth(amqp_url), 1000))
    writer.transport.abort()
    del reader

    publisher = gateway.app[parts.BROKER].publisher
    await eventually(lambda: publisher.inflight_messages == 0)
    assert await depth(amqp_url) == 1000
