"""What pages elsewhere, names that were made to point here and bodies without a type get."""

import random
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.api import parts
from gateway.config import ConfigError, GatewayConfig
from tests.deployment.gateway import running_gateway
from tests.deployment.sockets import Answer, Socket
from tests.support.waiting import eventually

TASK = b'{"task":"demo.add","args":[1,2]}'
JSON = "Content-Type: application/json"
READ = "GET /v1/tasks/x HTTP/1.1"
SUBMIT = "POST /v1/tasks HTTP/1.1"
RUN = "POST /v1/schedules/a/run HTTP/1.1"
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/"})


@pytest.fixture
async def door():
    async with running_gateway() as gateway:
        yield gateway


@pytest.fixture
async def open_door():
    async with running_gateway(
        allowed_hosts=("app.example", "*.inside"), allowed_origins=("https://app.example",)
    ) as gateway:
        yield gateway


@pytest.fixture
async def keyed_door(tmp_path: Path):
    keys = tmp_path / "keys.toml"
    digest = sha256(b"the key").hexdigest()
    keys.write_text(f'[[key]]\nname = "one"\nscopes = ["admin"]\nsha256 = "{digest}"\n')
    async with running_gateway(keys_file=keys) as gateway:
        yield gateway


async def ask(port: int, start: str, *headers: str, body: bytes = b"") -> Answer:
    """Send a request as bytes."""
    socket = await Socket.to(port)
    length = (f"Content-Length: {len(body)}",) if body else ()
    head = "\r\n".join((start, *headers, *length, "Connection: close", "", ""))
    await socket.write(head.encode("utf-8", "surrogateescape") + body)
    answer = await socket.answer(bodiless=start.startswith("HEAD"))
    socket.close()
    return answer


def code(answer: Answer) -> str | None:
    """Return the code of a refusal."""
    return answer.problem()["code"] if answer.status >= 400 else None


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True),
        ("LOCALHOST.:1234", True),  # a tunnel's port
        ("app.localhost", True),
        ("127.0.0.1:8080", True),
        ("127.7.7.7", True),
        ("[::1]:8080", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("0.0.0.0", False),
        ("192.168.0.1", False),
        ("app.example", False),
        ("user@localhost", False),
        ("127.1", False),
        ("2130706433", False),
        ("", False),
    ],
)
async def test_without_keys_only_names_of_this_machine_are_served(door, host, served):
    for start, body in ((READ, b""), (SUBMIT, TASK), ("GET / HTTP/1.1", b"")):
        answer = await ask(door.port, start, f"Host: {host}", JSON, body=body)

        assert (code(answer) == "unknown-host") is not served, start
        assert answer.status == 421 or served
        assert "X-Request-Id".lower() in answer.headers
    for path in ("/healthz", "/readyz"):
        health = await ask(door.port, f"GET {path} HTTP/1.1", f"Host: {host}")
        assert health.status in {200, 503}, path


@pytest.mark.parametrize(
    ("start", "headers", "expected"),
    [
        ("GET http://evil.example/v1/tasks/x HTTP/1.1", ["Host: localhost"], "unknown-host"),
        ("GET http://localhost/v1/tasks/x HTTP/1.1", ["Host: evil.example"], "unknown-host"),
        ("GET http://u:p@localhost/v1/tasks/x HTTP/1.1", ["Host: localhost"], "unknown-host"),
        ("GET http://[::2]/v1/tasks/x HTTP/1.1", ["Host: localhost"], "unknown-host"),
        ("GET http://[::1]/v1/tasks/x HTTP/1.1", ["Host: localhost"], "unknown-task-id"),
        ("GET http://localhost:1/v1/no HTTP/1.1", ["Host: localhost"], "not-found"),
        ("GET //evil.example/v1/tasks/x HTTP/1.1", ["Host: localhost"], "not-found"),
        ("GET /v1/tasks/x HTTP/1.1", [], "invalid-request"),
        ("GET /v1/tasks/x HTTP/1.0", [], "unknown-host"),
        ("GET /v1/tasks/x HTTP/1.1", ["Host: localhost", "Host: a"], "invalid-request"),
        ("OPTIONS * HTTP/1.1", ["Host: evil.example"], "unknown-host"),
        ("OPTIONS * HTTP/1.1", ["Host: localhost"], "not-found"),
        ("CONNECT evil.example:80 HTTP/1.1", ["Host: localhost"], "unknown-host"),
    ],
)
async def test_a_host_is_believed_wherever_a_request_names_it(door, start, headers, expected):
    answer = await ask(door.port, start, *headers)

    assert code(answer) == expected or (expected == "unknown-task-id" and answer.status == 503)


async def test_other_hosts_and_origins_are_served_when_they_are_configured(open_door):
    for host, expected in (
        ("app.example:80", True), ("a.inside", True), ("inside", False), ("b.example", False),
        ("localhost", True),
    ):  # fmt: skip
        answer = await ask(open_door.port, "GET / HTTP/1.1", f"Host: {host}")
        assert (answer.status == 200) is expected, host
    for origin, expected in (
        ("https://app.example", True), ("http://localhost", True), ("http://app.example", False),
        ("https://app.example.", False), ("https://app.example:443", False),
    ):  # fmt: skip
        answer = await ask(open_door.port, "GET / HTTP/1.1", "Host: localhost", f"Origin: {origin}")
        assert (answer.status == 200) is expected, origin


async def test_with_keys_any_host_is_served(keyed_door):
    answer = await ask(
        keyed_door.port, "GET /v1/topology HTTP/1.1", "Host: x", "Authorization: Bearer the key"
    )

    assert answer.status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null", "x"])
@pytest.mark.parametrize(
    ("start", "body"),
    [
        (SUBMIT, TASK), (RUN, b""), (READ, b""), ("DELETE /v1/tasks/x HTTP/1.1", b""),
        ("POST /v1/dead-letters/default/replay HTTP/1.1", b'{"all":true}'),
        ("OPTIONS /v1/tasks HTTP/1.1", b""), ("GET /v1/no/such HTTP/1.1", b""),
        ("HEAD /v1/queues HTTP/1.1", b""),
    ],
)  # fmt: skip
async def test_a_page_of_another_origin_is_refused_with_and_without_keys(
    door, keyed_door, origin, start, body
):
    for gateway in (door, keyed_door):
        answer = await ask(
            gateway.port, start, "Host: localhost", f"Origin: {origin}", JSON,
            "Authorization: Bearer the key", body=body,
        )  # fmt: skip

        assert answer.status == 403
        if not start.startswith("HEAD"):
            assert code(answer) == "forbidden-origin"
            assert answer.problem()["queued"] == "no"
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_our_own_page_and_no_page_are_served(door):
    own = f"localhost:{door.port}"
    for headers in ([], [f"Origin: http://{own}"], [f"Origin: https://{own}"]):
        answer = await ask(door.port, SUBMIT, f"Host: {own}", JSON, *headers, body=TASK)

        assert code(answer) == "broker-unavailable"


@pytest.mark.parametrize(
    "media_type",
    [
        None, "", "application/octet-stream", "text/plain", "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "text/json",
        "application/json, text/plain", "json", "\udcff/\udcfe",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "path",
    [
        "/v1/tasks", "/v1/tasks/bulk", "/v1/tasks/status", "/v1/canvas", "/v1/ingest/a",
        "/v1/broadcast", "/v1/tickets", "/v1/topology/route", "/v1/schedules/a/run",
        "/v1/dead-letters/default/replay",
    ],
)  # fmt: skip
async def test_a_body_names_its_media_type_on_every_route(door, keyed_door, path, media_type):
    headers = ["Authorization: Bearer the key"]
    if media_type is not None:
        headers.append(f"Content-Type: {media_type}")
    for gateway in (door, keyed_door):
        answer = await ask(
            gateway.port, f"POST {path} HTTP/1.1", "Host: localhost", *headers, body=TASK
        )

        assert (answer.status, code(answer)) == (415, "unsupported-media-type")
        assert answer.problem()["queued"] == "no"


@pytest.mark.parametrize(
    ("start", "headers", "expected"),
    [
        ("POST /v1/tickets HTTP/1.1", [], 200),
        ("POST /v1/tickets HTTP/1.1", ["Content-Length: 0"], 200),
        (SUBMIT, [], 400),
        ("POST /v1/ingest/a HTTP/1.1", [], 400),
        ("POST /v1/tasks/bulk HTTP/1.1", [], 400),
    ],
)
async def test_a_request_without_a_body_names_none(door, start, headers, expected):
    assert (await ask(door.port, start, "Host: localhost", *headers)).status == expected


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_may_say_its_charset(door, kind):
    answer = await ask(door.port, SUBMIT, "Host: localhost", f"Content-Type: {kind}", body=TASK)

    assert code(answer) == "broker-unavailable"


SEGMENTS = (
    "v1", "tasks", "stream", "a", "a%2Fstream", "%73tream", "ingest", "groups", "tickets", "bulk",
    "schedules", "static", "page.js", "healthz", "readyz", "metrics", "docs", "openapi.json", "",
    ".", "..", "%2e%2e", "%00", "stream%2F", "status", "canvas", "broadcast", "queues", "topology",
    "route", "dead-letters", "default", "replay", "run", "result", "*", ":lock",
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
QUERIES = (
    "",
    "?ticket=x",
    "?ticket=",
    "?ticket=" + "A" * 40,
    "?ids=a&ticket=%FF",
    "?ticket&wait=1",
)
FOUND = (
    "POST /v1/ingest/stream?ticket=x", "GET /v1/groups/stream?ticket=x",
    "GET /v1/tasks/a%2Fstream?ticket=x", "DELETE /v1/tasks/stream?ticket=x",
    "GET /v1/tasks/a/stream/?ticket=x", "POST /v1/stream?ticket=x",
)  # fmt: skip


async def test_without_a_key_no_path_but_the_open_ones_does_or_breaks_anything(keyed_door):
    rng = random.Random(9)  # the same requests each time
    starts = list(FOUND)
    for _ in range(800):
        path = "/".join(("", *rng.choices(SEGMENTS, k=rng.randint(1, 5))))
        starts.append(f"{rng.choice(METHODS)} {path}{rng.choice(QUERIES)}")
    for start in starts:
        body = TASK if rng.random() < 0.5 else b""
        answer = await ask(keyed_door.port, f"{start} HTTP/1.1", "Host: localhost", JSON, body=body)

        is_open = start.partition("?")[0].split()[1] in OPEN and start.startswith(("GET", "HEAD"))
        assert is_open or 400 <= answer.status < 500, (start, answer)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", "http://app.example"),
        ("ALLOWED_HOSTS", "app.example:8080"),
        ("ALLOWED_ORIGINS", "app.example"),
        ("ALLOWED_ORIGINS", "https://app.example/"),
        ("GATEWAY_HOST", "127.example.org"),  # begins like loopback
    ],
)
def test_what_could_never_match_is_a_fault_of_the_configuration(name, value):
    with pytest.raises(ConfigError, match=name):
        GatewayConfig.from_env({name: value})


async def chunks(port: int, start: str, *later: bytes, coding: str = "chunked") -> Answer:
    """Send a request without a media type, and its chunks, each by itself."""
    socket = await Socket.to(port)
    head = f"{start}\r\nHost: localhost\r\nTransfer-Encoding: {coding}\r\nConnection: close\r\n\r\n"
    await socket.write(head.encode())
    for each in later:
        await socket.write(each)
    answer = await socket.answer()
    socket.close()
    return answer


async def test_chunks_without_an_octet_are_no_body(door):
    for start in ("GET /v1/topology HTTP/1.1", "DELETE /v1/tasks/x HTTP/1.1"):
        none = await chunks(door.port, start, b"0\r\n\r\n")
        first = await chunks(door.port, start, b"1\r\nx\r\n")  # the rest is not waited for

        assert none.status != 415
        assert first.status == 415


@pytest.mark.parametrize(
    "path", ["tasks", "tasks/bulk", "tasks/status", "canvas", "ingest/a", "topology/route"]
)
async def test_chunks_without_an_octet_are_answered_as_no_body_where_one_is_needed(door, path):
    start = f"POST /v1/{path} HTTP/1.1"
    none = await chunks(door.port, start, b"0\r\n\r\n")
    absent = await ask(door.port, start, "Host: localhost")

    assert (none.status, code(none)) == (400, "malformed-json")
    assert none.problem()["detail"] == absent.problem()["detail"]


async def test_a_coding_that_would_stay_as_it_is_is_refused(door):
    answer = await chunks(door.port, RUN, b"0\r\n\r\n", coding="gzip, chunked")

    assert (answer.status, code(answer)) == (400, "invalid-request")
    assert "gzip, chunked" in answer.problem()["detail"]


async def test_a_removed_key_ends_an_upload_that_is_under_way(keyed_door, tmp_path: Path):
    socket = await Socket.to(keyed_door.port)
    line = TASK + b"\n"
    chunk = b"%x\r\n%b\r\n" % (len(line), line)
    await socket.write(
        b"POST /v1/tasks/bulk?outcomes=all HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer the key\r\nConnection: close\r\n"
        b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
    )
    (tmp_path / "keys.toml").write_text(
        f'[[key]]\nname = "two"\nscopes = ["admin"]\nsha256 = "{sha256(b"2").hexdigest()}"\n'
    )

    async def taken() -> bool:
        headers = ("Host: localhost", "Authorization: Bearer 2")
        return (await ask(keyed_door.port, "GET /v1/topology HTTP/1.1", *headers)).status == 200

    await eventually(taken, timeout_s=5)
    await socket.write(chunk * 2 + b"0\r\n\r\n")
    told = await socket.end()

    assert b'"code":"unauthenticated"' in told
    assert told.count(b'"line":') == 2


def _with_query(client: Any) -> list[tuple[str, str, bool]]:
    """Method and path of each route of the API with a parameter that none knows; takes tickets?"""
    return [
        (one.method, f"{re.sub('{[^}]*}', 'x', one.path)}?nope=1", one.operation.tickets)
        for one in client.app[parts.OPERATIONS]
        if one.path.startswith("/v1/")
    ]


async def test_a_query_parameter_that_would_be_ignored_is_refused_on_every_route(make_gateway):
    client = await make_gateway()
    routes = _with_query(client)
    assert len(routes) > 20
    for method, path, tickets in routes:
        answer = await client.request(method, path)
        problem = await answer.json()

        assert (answer.status, problem["code"]) == (400, "invalid-request"), (method, path)
        assert problem["errors"][0]["at"] == "?nope"
        assert problem.get("queued") == (None if method == "GET" else "no")
        assert ("ticket" in problem["detail"]) is tickets
    for path in ("/healthz", "/metrics", "/docs"):
        assert (await client.get(f"{path}?nope=1")).status == 200


async def test_a_plain_request_to_the_socket_says_that_it_is_one(make_gateway):
    client = await make_gateway()
    answer = await client.get("/v1/stream")

    assert answer.status == 400
    assert "this is a WebSocket (subprotocol penstock.v1)" in (await answer.json())["detail"]
