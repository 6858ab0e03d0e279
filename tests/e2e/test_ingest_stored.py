"""From POST to MongoDB: what `?ack=stored` promises, and what a repeated document changes."""

import asyncio
import io
import json
import secrets
from typing import Any

import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient

from tests.support.waiting import eventually

NDJSON = {"Content-Type": "application/x-ndjson"}


def ndjson(documents) -> bytes:
    return b"".join(
        json.dumps(document, separators=(",", ":")).encode() + b"\n" for document in documents
    )


@pytest.fixture
def name() -> str:
    """A collection of the test's own."""
    return f"ingest_{secrets.token_hex(4)}"


@pytest_asyncio.fixture
async def collection(stack, name):
    client: AsyncMongoClient[Any] = AsyncMongoClient(stack.mongo_url)
    async with client:
        yield client.get_default_database("penstock")[name]


async def test_a_stored_document_is_in_mongodb_when_the_answer_comes(http, name, collection):
    response = await http.post(f"/v1/ingest/{name}?ack=stored", json={"n": 1, "big": 2**53 + 1})
    answer = await response.json()

    assert response.status == 200
    assert (answer["stored"], answer["duplicates"], answer["failed"]) == (1, 0, [])
    assert await collection.find_one() == {"_id": answer["ids"][0], "n": 1, "big": 2**53 + 1}


async def test_several_batches_add_up_and_repeating_them_changes_nothing(http, name, collection):
    documents = [{"n": n, "text": f"line {n}"} for n in range(2500)]
    first, again = [
        await (
            await http.post(
                f"/v1/ingest/{name}?key=n&ack=stored&wait=30&ids=all",
                data=ndjson(documents),
                headers=NDJSON,
            )
        ).json()
        for _ in range(2)
    ]

    assert (first["stored"], first["duplicates"]) == (2500, 0)
    assert (again["stored"], again["duplicates"]) == (2500, 2500)
    assert first["ids"] == again["ids"]
    stored = await collection.find().to_list()
    assert {doc["_id"]: doc["n"] for doc in stored} == dict(
        zip(first["ids"], range(2500), strict=True)
    )


async def test_what_only_mongodb_refuses_is_named_by_its_place(http, name, collection):
    documents: list[dict[str, Any]] = [{"n": n} for n in range(1500)]
    documents[1300] = {"_id": "huge", "digits": [1] * 1_400_000}  # 18 MB of BSON
    response = await http.post(
        f"/v1/ingest/{name}?ack=stored&wait=30", data=io.BytesIO(ndjson(documents)), headers=NDJSON
    )
    answer = await response.json()

    assert response.status == 200
    assert answer["stored"] + len(answer["failed"]) == 1500
    assert [(one["index"], one["_id"]) for one in answer["failed"]] == [(1300, "huge")]
    assert await collection.count_documents({}) == answer["stored"]


async def test_skipped_lines_and_stored_documents_are_told_together(http, name):
    response = await http.post(
        f"/v1/ingest/{name}?ack=stored&on_error=skip", data=b'{"n":1}\n{"$n":2}\n', headers=NDJSON
    )
    answer = await response.json()

    assert response.status == 207
    assert (answer["stored"], answer["duplicates"], answer["failed"]) == (1, 0, [])
    assert [one["line"] for one in answer["rejected"]] == [2]
    assert len(answer["ids"]) == 1


async def test_what_mongodb_refuses_has_its_place_among_all_documents(http, name):
    huge = b'{"_id":"huge","digits":[1' + b",1" * 1_400_000 + b"]}"  # 18 MB of BSON
    good, bad = b'{"n":1}', b'{"$n":2}'
    lines = [bad, good, bad, b"", *[good] * 300, bad, huge, bad, good]
    response = await http.post(
        f"/v1/ingest/{name}?ack=stored&on_error=skip&wait=30",
        data=io.BytesIO(b"\n".join(lines)),
        headers=NDJSON,
    )
    answer = await response.json()

    assert (answer["rejected_count"], answer["stored"]) == (4, 302)
    documents = [line for line in lines if line]
    assert [one["index"] for one in answer["failed"]] == [documents.index(huge)]


async def test_without_time_to_wait_the_receipt_is_told(http, name):
    response = await http.post(f"/v1/ingest/{name}?ack=stored&wait=0", json=[{"n": 1}])
    answer = await response.json()

    assert response.status in {200, 202}
    assert len(answer["batches"]) == 1


async def test_single_documents_of_many_requests_are_all_stored(http, name, collection):
    answers = await asyncio.gather(
        *(http.post(f"/v1/ingest/{name}", json={"n": n}) for n in range(400))
    )
    ids = {(await answer.json())["ids"][0] for answer in answers}

    assert {answer.status for answer in answers} == {202}

    async def every_one_is_stored() -> bool:
        return {doc["_id"] async for doc in collection.find()} == ids

    await eventually(every_one_is_stored, timeout_s=20)
