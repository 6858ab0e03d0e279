"""What is not HTTP, not gzip, or not as long as it says: sane answers in the form of all others."""

import asyncio
import gzip
import json
import resource
import zlib
from typing import Any

import pytest

from tests.deployment.gateway import running_gateway
from tests.deployment.sockets import Answer, Socket

HEAD = b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GZIP = b"Content-Encoding: gzip\r\n"
TASK = json.dumps({"task": "demo.add", "args": [1, 2]}).encode()
ZIPPED = gzip.compress(TASK)


def sized(body: bytes, *headers: bytes) -> bytes:
    return b"".join((HEAD, *headers, b"Content-Length: %d\r\n\r\n" % len(body), body))


async def asked(*pieces: bytes, **fields: Any) -> Answer:
    """The answer to a request, which comes piece by piece; then the connection must end well."""
    async with running_gateway(**fields) as gateway:
        socket = await Socket.to(gateway.port)
        for piece in pieces:
            await socket.write(piece)
            await asyncio.sleep(0.02)
        answer = await socket.answer()
        socket.close()
        other = await Socket.to(gateway.port)
        await other.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await other.answer()).status == 200
        other.close()
        return answer


BAD_HTTP = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "version": b"GET / HTTP/9.9\r\n\r\n",
    "request line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "headers": b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: a\r\n" % n for n in range(5000)) + b"\r\n",
    "endless header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000,
    "NUL": b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer hush\x00\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": HEAD + b"Content-Length: -2\r\n\r\n{}",
    "unknown coding": HEAD + b"Transfer-Encoding: zebra\r\n\r\n{}",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
}


@pytest.mark.parametrize("name", BAD_HTTP)
async def test_bad_http_is_a_400_that_repeats_nothing(name, caplog):
    answer = await asked(BAD_HTTP[name])
    problem = answer.problem()

    assert (answer.status, problem["code"]) == (400, "invalid-request")
    assert answer.headers["x-request-id"]
    assert "hush" not in answer.body.decode() + caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("path", [b"/v1/tasks", b"/v1/tasks/bulk", b"/v1/ingest/a"])
async def test_chunks_that_break_in_the_middle_are_refused_at_once(path, caplog):
    start = b"[" if path.endswith(b"bulk") else b"{"
    head = HEAD.replace(b"/v1/tasks", path)
    started = asyncio.get_running_loop().time()
    answer = await asked(
        head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n%b\r\n" % start, b"no size\r\n",
        amqp_url="amqp://127.0.0.1:1/",
    )  # fmt: skip

    assert (answer.status, answer.problem()["code"]) == (400, "invalid-request")
    assert answer.problem()["queued"] == "no"
    assert asyncio.get_running_loop().time() - started < 5
    assert "Traceback" not in caplog.text


async def test_a_body_shorter_than_it_says_is_no_fault_of_ours(caplog):
    async with running_gateway() as gateway:
        for cut in (HEAD + b"Content-Length: 100\r\n\r\n{}", HEAD[:30]):
            socket = await Socket.to(gateway.port)
            await socket.write(cut)
            await asyncio.sleep(0.05)
            socket.close()
        other = await Socket.to(gateway.port)
        await other.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await other.answer()).status == 200
        other.close()

    assert "Traceback" not in caplog.text


async def test_what_follows_a_body_longer_than_it_says_is_no_second_task():
    async with running_gateway() as gateway:
        socket = await Socket.to(gateway.port)
        await socket.write(HEAD + b"Content-Length: 2\r\n\r\n{}" + b'{"task": "demo.add"}\r\n\r\n')
        answers = await socket.end()

        assert answers.count(b"400 Bad Request") == answers.count(b"Server: ") > 0


BAD_CODINGS = {
    "br": (sized(b"x", b"Content-Encoding: br\r\n"), 415, "unsupported-media-type"),
    "deflate": (
        sized(zlib.compress(TASK), b"Content-Encoding: deflate\r\n"), 415, "unsupported-media-type",
    ),
    "twice": (
        sized(gzip.compress(ZIPPED), b"Content-Encoding: gzip, gzip\r\n"),
        415, "unsupported-media-type",
    ),
    "twice, apart": (
        sized(gzip.compress(ZIPPED), GZIP, GZIP), 415, "unsupported-media-type",
    ),
    "not gzip": (sized(TASK, GZIP), 400, "malformed-json"),
    "empty": (sized(b"", GZIP), 400, "malformed-json"),
    "cut": (sized(ZIPPED[:-9], GZIP), 400, "malformed-json"),
    "garbage behind": (sized(ZIPPED + b"garbage", GZIP), 400, "malformed-json"),
    "sum": (sized(ZIPPED[:-6] + b"\0\0" + ZIPPED[-4:], GZIP), 400, "malformed-json"),
}  # fmt: skip


@pytest.mark.parametrize("value", [b"", b"identity", b"identity, gzip", b",gzip,"])
async def test_a_content_coding_that_changes_nothing_is_as_none(value):
    body = ZIPPED if b"gzip" in value else TASK
    answer = await asked(sized(body, b"Content-Encoding: %b\r\n" % value))

    assert (answer.status, answer.problem()["code"]) == (503, "broker-unavailable")


@pytest.mark.parametrize("name", BAD_CODINGS)
async def test_a_content_coding_that_cannot_be_undone_is_refused(name):
    request, status, code = BAD_CODINGS[name]
    answer = await asked(request)

    assert (answer.status, answer.problem()["code"]) == (status, code)
    assert answer.problem()["queued"] == "no"


def bomb() -> bytes:
    """A GiB of spaces in 1 MB of gzip, made of one MiB: a full flush lets a block be repeated."""
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = deflate.compress(b" " * (1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * 1024


BOMB = bomb()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/v1/tasks", b"application/json"),
        (b"/v1/tasks/bulk", b"application/json"),
        (b"/v1/ingest/a", b"application/json"),
        (b"/v1/ingest/a?key=x", b"application/json"),
        (b"/v1/canvas", b"application/json"),
    ],
)
async def test_a_bomb_is_refused_by_its_expanded_size_and_not_expanded(path, kind):
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\n" % (path, kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = await asked(
        head + GZIP + b"Content-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
        max_array_bytes=8 << 20,
        collection_pattern="a",
    )

    assert (answer.status, answer.problem()["code"]) == (413, "body-too-large")
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 * 1024


async def test_what_its_head_refuses_is_not_asked_for_its_body():
    wrong = (b"text/csv", b"5", 415), (b"application/json", b"100000000", 413)
    async with running_gateway() as gateway:
        for kind, length, status in wrong:
            socket = await Socket.to(gateway.port)
            await socket.write(
                b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                b"Content-Type: %b\r\nContent-Length: %b\r\n\r\n" % (kind, length)
            )
            answer = await socket.answer()
            socket.close()
            assert answer.status == status
            assert answer.headers["connection"] == "close"


async def test_an_expectation_is_met_or_left_alone():
    async with running_gateway() as gateway:
        for expected, first in ((b"100-continue", 100), (b"the-unexpected", 400)):
            socket = await Socket.to(gateway.port)
            await socket.write(HEAD + b"Expect: %b\r\nContent-Length: 2\r\n\r\n" % expected)
            if first == 100:
                assert (await socket.answer()).status == 100
            await socket.write(b"{}")
            assert (await socket.answer()).status == 400
            socket.close()
        for start, status in ((b"POST /v1/no-such", 404), (b"PUT /v1/tasks", 405)):
            for expected in (b"100-continue", b"the-unexpected"):
                socket = await Socket.to(gateway.port)
                head = b"%b HTTP/1.1\r\nHost: localhost\r\nExpect: %b\r\nContent-Length: 2\r\n\r\n"
                await socket.write(head % (start, expected))
                answer = await socket.answer()
                socket.close()
                assert answer.status == status
                assert answer.problem()["status"] == status
                assert answer.headers["x-request-id"]
        assert gateway.listener.refused == 0
