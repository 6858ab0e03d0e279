"""POST /v1/ingest against a real broker: the answer, and what is in the queue afterwards."""

import gzip
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest

from gateway.api import parts
from penstock.wire.headers import CHECKED_HEADER
from tests.support.waiting import eventually

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NDJSON = {"Content-Type": "application/x-ndjson"}


def ndjson(*documents) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


async def batches(amqp_url: str, queue: str = "mongo_queue") -> list[tuple[str, str, list[Any]]]:
    """(task id, collection, documents) of each message, taking them out."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        source = await channel.get_queue(queue)
        found = []
        while (message := await source.get(fail=False)) is not None:
            await message.ack()
            assert message.headers["task"] == "documents.store"
            assert message.headers[CHECKED_HEADER] is True
            assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
            (collection, documents), kwargs, _ = json.loads(message.body)
            assert kwargs == {}
            found.append((str(message.message_id), collection, documents))
        return found


async def test_one_object_becomes_one_document_with_an_id(gateway, amqp_url):
    response = await gateway.post("/v1/ingest/readings", json={"t": 1, "é": "\U0001f30a"})
    receipt = await response.json()

    assert response.status == 202
    assert receipt["accepted"] == 1
    assert UUID7.fullmatch(receipt["ids"][0])
    [(task_id, collection, documents)] = await batches(amqp_url)
    assert [task_id] == receipt["batches"]
    assert collection == "readings"
    assert documents == [{"_id": receipt["ids"][0], "t": 1, "é": "\U0001f30a"}]


async def test_an_array_and_ndjson_are_the_same_documents(gateway, amqp_url):
    sent = [{"n": n, "deep": [{"n": n}]} for n in range(2500)]
    array = await gateway.post("/v1/ingest/a", json=sent)
    lines = await gateway.post("/v1/ingest/b", data=ndjson(*sent), headers=NDJSON)

    for response in (array, lines):
        receipt = await response.json()
        assert response.status == 202
        assert receipt["accepted"] == 2500
        assert len(receipt["batches"]) == 3
        assert "ids" not in receipt
    found = await batches(amqp_url)
    for name in ("a", "b"):
        documents = [doc for _, collection, docs in found if collection == name for doc in docs]
        assert [{k: v for k, v in doc.items() if k != "_id"} for doc in documents] == sent
        assert len({doc["_id"] for doc in documents}) == 2500
    assert max(len(docs) for _, _, docs in found) == 1000


async def test_ids_are_listed_up_to_a_thousand_and_all_on_demand(gateway):
    thousand = ndjson(*({"n": n} for n in range(1000)))
    few = await (await gateway.post("/v1/ingest/a", data=thousand, headers=NDJSON)).json()
    every = await gateway.post("/v1/ingest/a?ids=all", data=thousand * 2, headers=NDJSON)

    assert len(set(few["ids"])) == 1000
    assert len(set((await every.json())["ids"])) == 2000


LONG = 100_000
"""Octets of an `_id`."""


def long_ids(count: int) -> bytes:
    return ndjson(*({"_id": f"{n:04}".ljust(LONG, "x")} for n in range(count)))


async def test_long_ids_are_listed_up_to_4_mib_and_all_on_demand(gateway):
    held = gateway.app[parts.INTAKE].held
    for count, path, listed in ((40, "a", 40), (60, "a", None), (60, "a?ids=all", 60)):
        body = io.BytesIO(long_ids(count))
        response = await gateway.post(f"/v1/ingest/{path}", data=body, headers=NDJSON)
        receipt = await response.json()

        assert (response.status, receipt["accepted"]) == (202, count)
        assert (len(receipt["ids"]) if "ids" in receipt else None) == listed
        assert held.total == 0


async def test_ids_count_as_held_until_they_are_told(make_gateway):
    gateway = await make_gateway(max_body_bytes_held=30 << 20)
    held = gateway.app[parts.INTAKE].held

    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield long_ids(20)

    response = await gateway.post("/v1/ingest/a?ids=all", data=body(), headers=NDJSON)
    told = await response.json()
    assert (response.status, told["code"], told["queued"]) == (503, "overloaded", "yes")
    assert 100 < told["accepted"] == len(told["ids"]) < 400
    await eventually(lambda: held.total == 0)

    response = await gateway.post("/v1/ingest/a", data=body(), headers=NDJSON)
    assert (response.status, (await response.json())["accepted"]) == (202, 400)


async def test_no_documents_are_accepted_too(gateway, amqp_url):
    array = {"Content-Type": "application/json"}
    for body, headers in ((b"[]", array), (b"\n\n", NDJSON), (b"", NDJSON)):
        response = await gateway.post("/v1/ingest/a", data=body, headers=headers)

        assert response.status == 202
        assert await response.json() == {"accepted": 0, "ids": [], "batches": []}
    assert await batches(amqp_url) == []


async def test_a_gzip_body_is_expanded(gateway, amqp_url):
    body = gzip.compress(ndjson({"n": 1}) + b"\r\n" + ndjson({"n": 2}))
    response = await gateway.post(
        "/v1/ingest/a", data=body, headers={**NDJSON, "Content-Encoding": "gzip"}
    )

    assert (await response.json())["accepted"] == 2
    [(_, _, documents)] = await batches(amqp_url)
    assert [doc["n"] for doc in documents] == [1, 2]


async def test_an_id_of_ones_own_is_kept_and_a_key_derives_one(gateway, amqp_url):
    own = [{"_id": "mine", "n": 1}, {"n": 2, "_id": 7}]
    response = await gateway.post("/v1/ingest/a", json=own)
    assert (await response.json())["ids"] == ["mine", 7]

    keyed = {"site": "x", "n": 1, "t": 2.5}
    first = await (await gateway.post("/v1/ingest/a?key=site,n", json=keyed)).json()
    again = await (await gateway.post("/v1/ingest/a?key=site,n", json={**keyed, "t": 3})).json()
    assert first["ids"] == again["ids"]
    assert re.fullmatch("[0-9a-f]{32}", first["ids"][0])
    found = await batches(amqp_url)
    assert found[0][2] == own

    missing = await gateway.post("/v1/ingest/a?key=site,other", json=keyed)
    assert missing.status == 422
    assert (await missing.json())["errors"][0]["detail"] == "the key field 'other' is missing"


BAD = {
    "not-an-object": "5",
    "dollar-key": '{"a":{"$set":1}}',
    "escaped-dollar-key": '{"a":{"\\u0024set":1}}',
    "nul-key": '{"a\\u0000b":1}',
    "too-deep": '{"a":' + "[" * 100 + "]" * 100 + "}",
    "far-too-deep": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    "over-64-bits": '{"a":9223372036854775808}',
    "under-64-bits": '{"a":-9223372036854775809}',
    "huge-integer": '{"a":' + "9" * 5000 + "}",
    "nan": '{"a":NaN}',
    "infinity": '{"a":-Infinity}',
    "infinite-number": '{"a":1e999}',
    "lone-surrogate": '{"a":"\\ud800"}',
    "over-4-mib": '{"a":"' + "x" * (4 << 20) + '"}',
    "null-id": '{"_id":null}',
}


@pytest.mark.parametrize("kind", ["object", "array", "ndjson"])
async def test_a_bad_document_stores_nothing_and_is_named(gateway, amqp_url, kind):
    headers = NDJSON if kind == "ndjson" else {"Content-Type": "application/json"}
    for name, bad in BAD.items():
        body = {"object": bad, "array": f'[{{"n":1}},{bad}]'}.get(kind, f'{{"n":1}}\n{bad}\n')
        response = await gateway.post(
            "/v1/ingest/a", data=io.BytesIO(body.encode()), headers=headers
        )
        problem = await response.json()

        assert (response.status, problem["code"]) == (422, "invalid-document"), name
        assert problem["queued"] == "no"
        assert "accepted" not in problem
        [error] = problem["errors"]
        assert error["line"] == (1 if kind == "object" else 2)
        assert error["at"].startswith("$[1]" if kind == "array" else "$")
    assert await batches(amqp_url) == []


async def test_what_is_not_json_at_all_is_malformed(gateway, amqp_url):
    for body in (b'{"a":1', b'[{"a":1},{"a":]', b'[{"a":1}', b"", b'{"a":"\xff"}', b"[{}]{}"):
        response = await gateway.post(
            "/v1/ingest/a", data=body, headers={"Content-Type": "application/json"}
        )

        problem = await response.json()
        assert (response.status, problem["code"]) == (400, "malformed-json"), body
        assert problem["errors"][0]["at"].startswith("$"), body
    assert await batches(amqp_url) == []


async def test_a_hundred_bad_lines_are_named(gateway):
    body = b"".join(b'{"n":%d}\nnope\n' % n for n in range(150))
    response = await gateway.post("/v1/ingest/a", data=body, headers=NDJSON)
    problem = await response.json()

    assert response.status == 422
    assert [error["line"] for error in problem["errors"]] == list(range(2, 202, 2))


async def test_bad_lines_can_be_skipped(gateway, amqp_url):
    body = b'{"n":1}\n\n{"$x":1}\nnope\n{"n":2}'
    response = await gateway.post("/v1/ingest/a?on_error=skip", data=body, headers=NDJSON)
    answer = await response.json()

    assert response.status == 207
    assert answer["accepted"] == 2
    assert [(one["line"], one["at"]) for one in answer["rejected"]] == [(3, "$.$x"), (4, "$")]
    [(_, _, documents)] = await batches(amqp_url)
    assert [doc["_id"] for doc in documents] == answer["ids"]


LINE = json.dumps({"n": 1, "pad": "x" * 986}).encode() + b"\n"


async def test_a_fault_in_the_first_8_mib_stores_nothing(gateway, amqp_url):
    before = (8 << 20) // len(LINE)
    body = io.BytesIO(LINE * before + b"nope\n" + LINE * 4000)
    response = await gateway.post("/v1/ingest/a", data=body, headers=NDJSON)
    problem = await response.json()

    assert (response.status, problem["queued"]) == (422, "no")
    assert [error["line"] for error in problem["errors"]] == [before + 1]
    assert await batches(amqp_url) == []


async def test_a_fault_behind_8_mib_stops_the_stream_behind_a_prefix(gateway, amqp_url):
    before = (8 << 20) // len(LINE) + 700
    body = io.BytesIO(LINE * before + b"nope\n" + LINE * 4000)
    response = await gateway.post("/v1/ingest/a", data=body, headers=NDJSON)
    problem = await response.json()

    assert (response.status, problem["queued"]) == (422, "yes")
    assert problem["code"] == "invalid-document"
    assert [error["line"] for error in problem["errors"]] == [before + 1]
    assert problem["accepted"] == before == len(problem["ids"])
    stored = [doc["_id"] for _, _, docs in await batches(amqp_url) for doc in docs]
    assert stored == problem["ids"]


async def test_batches_hold_at_most_4_mib(gateway, amqp_url):
    sent = [{"n": n, "pad": "x" * 1_500_000} for n in range(5)] + [{"pad": "x" * ((4 << 20) - 11)}]
    response = await gateway.post("/v1/ingest/a", data=io.BytesIO(ndjson(*sent)), headers=NDJSON)

    assert (await response.json())["accepted"] == 6
    assert [len(docs) for _, _, docs in await batches(amqp_url)] == [2, 2, 1, 1]


async def test_unknown_collections_are_told_apart(gateway):
    for name in ("system.users", "1a", "a.b", "a" * 65, "a%0A", "a$"):
        response = await gateway.post(f"/v1/ingest/{name}", json={})

        assert (response.status, (await response.json())["code"]) == (404, "unknown-collection")


async def test_another_media_type_is_refused(gateway):
    response = await gateway.post("/v1/ingest/a", data=b"a,b", headers={"Content-Type": "text/csv"})

    assert response.status == 415


async def test_options_that_do_not_exist_are_refused(gateway):
    for query in (
        "ids=some", "on_error=stop", "ack=yes", "ack=stored&wait=61", "wait=5", "key=a,,b", "up=1",
        "key=a&key=b", "key=a%22", "key=a%5C,b", "key=%00", "key=a%0Ab",
        f"key={','.join(map(str, range(101)))}",
    ):  # fmt: skip
        response = await gateway.post(f"/v1/ingest/a?{query}", json={})

        assert (response.status, (await response.json())["code"]) == (400, "invalid-request"), query


async def test_an_array_has_a_bound_and_a_stream_has_none(make_gateway):
    gateway = await make_gateway(max_array_bytes=10_000)
    array = b"[" + b",".join([LINE] * 10) + b"]"

    async def chunked():
        yield array

    for data in (array, chunked()):
        response = await gateway.post(
            "/v1/ingest/a", data=data, headers={"Content-Type": "application/json"}
        )
        assert (response.status, (await response.json())["code"]) == (413, "body-too-large")
    response = await gateway.post("/v1/ingest/a", data=LINE * 10, headers=NDJSON)
    assert response.status == 202
