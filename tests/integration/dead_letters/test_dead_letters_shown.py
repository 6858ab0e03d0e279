"""Bodies of dead letters, as they are listed."""

import json

import aio_pika
import orjson
import pytest

from tests.support.cost import YARDSTICK_MS, LongestTurn, exchange, yardstick
from tests.support.dead_letters import DeadLetterBroker, look
from tests.support.memory import most_held

MIB = 1024 * 1024
DEEP = b"[" * 501 + b"]" * 501


@pytest.fixture
def bury(amqp_url):
    """Put bodies into the queue of dead letters, in this order."""

    async def bury(*bodies: bytes) -> None:
        connection = await aio_pika.connect(amqp_url)
        async with connection:
            broker = DeadLetterBroker(await connection.channel())
            for number, body in enumerate(bodies):
                await broker.publish(f"letter-{number}", exchange="dead", body=body)
            await broker.has("default.dead", len(bodies))

    return bury


@pytest.mark.parametrize(
    ("body", "listed"),
    [
        (b"[1180591620717411303424, -18446744073709551617]", None),
        (b'\n{"b": 1.0, "a": 1e2, "\\u00e9": "\xc3\xa9", "a": null} ', None),
        (b"null", None),
        (b'[%b,"%b"]' % (b"1" * 308, b"1" * 400), None),
        (b"1" * 309, b'"%b"' % (b"1" * 309)),
        (b"[" * 500 + b"]" * 500, None),
        (DEEP, json.dumps(DEEP.decode()).encode()),
        (b"", b'""'),
        (b"[NaN]", b'"[NaN]"'),
        (b"1e999", b'"1e999"'),
        (b"[1],[2]", b'"[1],[2]"'),
        (b'"\\ud800"', b'"\\"\\\\ud800\\""'),
        (b'["\xff"]', '"[\\"�\\"]"'.encode()),
        (b"\xef\xbb\xbf[]", b'"\xef\xbb\xbf[]"'),
    ],
)
async def test_a_body_is_listed_to_the_letter_if_it_is_json(client, bury, body, listed):
    await bury(body)
    async with client.get("/v1/dead-letters/default") as answer:
        text = await answer.read()

    assert b'"size_bytes":%d,"body":%b,' % (len(body), listed or body) in text
    [letter] = orjson.loads(text)["letters"]
    assert letter["id"] == "letter-0"


async def test_a_body_over_64_kib_is_left_out(client, bury):
    longest = b'"' + b"z" * (64 * 1024 - 2) + b'"'
    await bury(longest, longest + b" ", b"[1]")
    letters = (await look(client))["letters"]

    assert [one.get("body") for one in letters] == ["z" * (64 * 1024 - 2), None, [1]]
    assert [one["size_bytes"] for one in letters] == [64 * 1024, 64 * 1024 + 1, 3]


async def test_bodies_beyond_8_mib_are_left_out(client, bury):
    control = b"\x01" * 60_000  # as JSON six times as long
    await bury(*[control] * 30, b"[1]")
    letters = (await look(client))["letters"]
    bodies = [one.get("body") for one in letters]

    assert bodies == [control.decode()] * 23 + [None] * 7 + [[1]]
    assert all("size_bytes" in one for one in letters)


async def test_looking_holds_what_it_shows(client, bury):
    await bury(*[b'"%b"' % (b"z" * MIB)] * 60)
    with most_held() as most:
        letters = (await look(client))["letters"]
        held = most()

    assert len(letters) == 60
    assert not any("body" in one for one in letters)
    assert held < 15 * MIB


async def test_looking_at_many_bodies_does_not_hold_the_loop(client, bury):
    body = b"[%b1]" % (b'{"a":1},' * 5_800)
    await bury(*[body] * 250)
    request = b"GET /v1/dead-letters/default?limit=250 HTTP/1.1\r\nHost: localhost\r\n"
    turns = []
    for _ in range(3):
        with LongestTurn() as turn:
            found = await exchange(client.port, request + b"Connection: close\r\n\r\n")
        turns.append(turn.cpu_s)
    letters = orjson.loads(found.answer)["letters"]

    assert sum("body" in one for one in letters) == 8 * MIB // len(body)
    assert min(turns) / yardstick() * YARDSTICK_MS < 40
