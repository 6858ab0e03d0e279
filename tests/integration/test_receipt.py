"""A receipt written as one string is the answer that aiohttp would have made of it."""

import asyncio
import http.client
import json

from tests.support.raw_http import exchange

ADD = b'{"task": "demo.add", "args": [1, 2]}'


def _request(path: str, version: str, *headers: str) -> bytes:
    head = [
        f"POST {path} HTTP/{version}",
        "Host: localhost",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join([*head, f"Content-Length: {len(ADD)}", "", ""]).encode() + ADD


async def test_both_ways_of_writing_it_say_the_same(gateway):
    def kept() -> list[tuple[int, dict[str, str], bytes, object]]:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        told = []
        for path in ("/v1/tasks", "/v1/tasks", "/v1/ingest/things"):
            connection.request("POST", path, ADD, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            told.append((answer.status, dict(answer.headers), answer.read(), connection.sock))
        connection.close()
        return told

    first, second, document = await asyncio.to_thread(kept)
    closing = await exchange(gateway.port, _request("/v1/tasks", "1.1", "Connection: close"))
    old = await exchange(gateway.port, _request("/v1/tasks", "1.0"))

    assert first[0] == second[0] == document[0] == closing.status == old.status == 202
    assert first[3] is second[3] is document[3] is not None, "the connection was not kept"
    assert closing.headers["Connection"] == "close"
    assert old.version == 10
    written_whole = first[1]
    assert set(closing.headers) - {"Connection", "Server"} == set(written_whole)
    assert closing.headers["Content-Type"] == written_whole["Content-Type"]
    assert json.loads(first[2]).keys() == closing.json().keys() == old.json().keys()
    for headers, body in ((written_whole, first[2]), (closing.headers, closing.body)):
        assert headers["Location"] == json.loads(body)["links"]["self"]
    assert "Location" not in document[1]
    assert json.loads(document[2])["accepted"] == 1


async def test_the_request_id_is_echoed_in_one_written_whole(gateway):
    response = await gateway.post("/v1/tasks", json=json.loads(ADD), headers={"X-Request-Id": "a1"})

    assert (response.status, response.headers["X-Request-Id"]) == (202, "a1")
