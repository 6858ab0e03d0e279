"""Requests that are nearly right: valid ones of each write route, damaged in up to three places."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

TASK = "periodic.heartbeat"
_BODIES: dict[tuple[str, str, str], tuple[Any, ...]] = {
    ("POST", "/v1/tasks", "/v1/tasks"): (
        {"task": TASK, "args": [1, "é"], "kwargs": {"day": [1.5, None]}},
        {"task": TASK, "options": {"queue": "ranked", "priority": 3, "headers": {"a": "b"}}},
        {"task": TASK, "options": {"exchange": "events", "routing_key": "documents.a"}},
        {"task": TASK, "options": {"expires": 60, "time_limit": 30, "soft_time_limit": 2}},
        {"task": TASK, "options": {"eta": "2027-01-31T00:00:00Z", "ignore_result": True}},
        {"task": TASK, "options": {"countdown": 3000, "callback_url": "https://a.example/"}},
    ),
    ("POST", "/v1/tasks/bulk", "/v1/tasks/bulk"): ([{"task": TASK, "args": [1]}, {"task": TASK}],),
    ("POST", "/v1/canvas", "/v1/canvas"): (
        {"chain": [{"task": TASK, "args": [1]}, {"group": [{"task": TASK}, {"task": TASK}]}]},
        {"chord": {"header": [{"task": TASK}], "body": {"task": TASK, "immutable": True}}},
        {"task": TASK, "link": [{"task": TASK}], "link_error": {"task": TASK}},
    ),
    ("POST", "/v1/ingest/{collection}", "/v1/ingest/readings"): (
        {"_id": "a", "n": 1, "deep": {"x": [1, 2.5, None]}},
        [{"n": 1}, {"n": 2, "_id": "b"}],
    ),
    ("POST", "/v1/tasks/status", "/v1/tasks/status"): ({"ids": ["a", "b"]},),
    ("POST", "/v1/tickets", "/v1/tickets"): ({"ids": ["a"]},),
    ("PUT", "/v1/schedules/{name}", "/v1/schedules/fuzz"): (
        {"task": TASK, "every": 15.0, "args": [1], "enabled": False},
        {"task": TASK, "crontab": {"minute": "*/5", "hour": 3, "timezone": "Europe/Berlin"}},
        {"task": TASK, "solar": {"event": "sunset", "latitude": 1.5, "longitude": 2}},
    ),
    ("POST", "/v1/schedules/{name}/run", "/v1/schedules/fuzz/run"): (None,),
    ("POST", "/v1/topology/route", "/v1/topology/route"): (
        {"task": TASK},
        {"exchange": "events", "routing_key": "documents.a", "headers": {"a": 1}},
    ),
    ("POST", "/v1/broadcast", "/v1/broadcast"): ({"task": TASK},),
    ("POST", "/v1/dead-letters/{queue}/replay", "/v1/dead-letters/default/replay"): (
        {"ids": ["a"], "rate": 100},
        {"all": True},
    ),
}
_QUERIES = {
    "/v1/tasks/bulk": ("outcomes=all", ""),
    "/v1/ingest/{collection}": ("", "key=n", "ids=all", "on_error=skip", "ack=stored&wait=0.1"),
}
_ODD_VALUES = (
    b"1e999", b"-1e999", b"NaN", b"Infinity", b"-0", b"1" * 400, b"1" * 400 + b".5",
    b"-" + b"9" * 30,
    b"18446744073709551616", b"1e-999", b"0.1e1", b"01", b"null", b"true", b"[]", b"{}", b'""', b"",
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\\x"',
    b'"' + b"a" * 256 + b'"', b'"' + "é".encode() * 200 + b'"', b'"documents.' + b"k" * 220 + b'"',
    b'"9999-12-31T23:59:59Z"', b'"0001-01-01T00:00:00+23:59"', b'"2026-01-01"', b'"*/0"',
    b"[" * 150 + b"]" * 150, b"[" * 9000, b'{"a":' * 150 + b"1" + b"}" * 150, b"1" * 5000,
    b'{"__type__":"datetime"}', b'{"$set":1}', b'{"a\\u0000":1}', b'{"a":1,"a":2}', b"// 1",
    b'"' + b"long " * 60_000 + b'"',
)  # fmt: skip
_ODD_KEYS = (
    b'"task"', b'"id"', b'"chain"', b'"options"', b'""', b'"$a"', b'"\\u0000"', b'"\\ud800"',
    b'"a.b"',
    b'"' + b"k" * 300 + b'"', b"1", b'"x-retry"', b'"__type__"', b'"link"', b'"args"', b'"_id"',
)  # fmt: skip
_ODD_SEGMENTS = (
    b"", b"%00", b"%FF%FE", b"%ED%A0%80", b"%F0%9F%9A%B0", b"a%2Fb", b"..", b"%2e%2e", b".",
    b"a" * 300,
    b"system.users", b"%20", b"a;b", b"%0d%0aX:1", b"%", b"%zz", b"\xc3\xa9", b"dead.outcomes",
    b":a",
)  # fmt: skip
_ODD_QUERIES = (
    b"wait=0", b"wait=61", b"wait=-1", b"wait=nan", b"wait=1e1", b"wait=%D9%A3", b"wait=0&wait=0",
    b"a=1", b"%FF=%FF", b"%00", b"=", b"&&&", b"outcomes=", b"outcomes=%ED%A0%80", b"ids=none",
    b"key=", b"key=_id", b"key=a,a", b"key=%00", b"key=%FF", b"key=" + b"a," * 500 + b"b",
    b"on_error=maybe", b"ack=%FF", b"terminate=2", b"ticket=x", b"a=" + b"b" * 5000, b"wait",
)  # fmt: skip
_ODD_HEADERS = (
    (b"Content-Type", b"text/plain"), (b"Content-Type", b"application/x-ndjson"),
    (b"Content-Type", b"application/x-www-form-urlencoded"), (b"Content-Type", b"\xff/\xfe"),
    (b"Content-Type", b'application/json; charset="'), (b"Content-Type", b""),
    (b"Content-Type", b"application/json; charset=utf-16"), (b"Content-Type",
    b"multipart/form-data"),
    (b"Content-Encoding", b"br"), (b"Content-Encoding", b"gzip"),
    (b"Content-Encoding", b"gzip, gzip"),
    (b"Content-Encoding", b"\xff"), (b"Content-Encoding", b""), (b"Content-Encoding", b"deflate"),
    (b"Idempotency-Key", b"k"), (b"Idempotency-Key", b""), (b"Idempotency-Key", b"\xff"),
    (b"Idempotency-Key", b"k" * 256), (b"Idempotency-Key", b"a\tb"), (b"Authorization",
    b"Bearer \xff"),
    (b"Authorization", b""), (b"Authorization", b"Basic eDp5"), (b"X-Request-Id", b"\xff" * 10),
    (b"X-Request-Id", b"a" * 300), (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),
    (b"traceparent", b"\xff"), (b"Expect", b"100-continue"), (b"Expect", b"200-ok"),
    (b"Origin", b"http://[\xff"), (b"Accept", b"image/png"), (b"Range", b"bytes=0-1"),
    (b"If-None-Match", b"*"), (b"Accept-Encoding", b"\xff"), (b"X-Forwarded-For", b"\xff, ::1"),
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One request as it will be sent."""

    route: str
    """Path as the OpenAPI document has it."""
    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = field(repr=False)

    def wire(self) -> bytes:
        """Its bytes."""
        target = self.path + (b"?" + self.query if self.query else b"")
        names = {name for name, _ in self.headers}
        fixed = ((b"Host", b"localhost"), (b"Connection", b"close"),
                 (b"Content-Length", str(len(self.body)).encode()))  # fmt: skip
        typed = () if b"Content-Type" in names else ((b"Content-Type", b"application/json"),)
        lines = [name + b": " + value for name, value in (*fixed, *typed, *self.headers)]
        start = self.method.encode() + b" " + target + b" HTTP/1.1"
        return b"\r\n".join([start, *lines, b"", self.body])


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A valid request with up to three mutations."""
    (method, route, path), bodies = draw(st.sampled_from(sorted(_BODIES.items(), key=str)))
    valid = draw(st.sampled_from(bodies))
    body = b"" if valid is None else json.dumps(valid, ensure_ascii=False).encode()
    query = draw(st.sampled_from(_QUERIES.get(route, ("",)))).encode()
    request = Request(route, method, path.encode(), query, (), body)
    if route in _QUERIES and draw(st.booleans()):
        lines = valid if isinstance(valid, list) else [valid]
        ndjson = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        headers = ((b"Content-Type", b"application/x-ndjson"),)
        request = replace(request, headers=headers, body=ndjson)
    for _ in range(draw(st.integers(0, 3))):
        request = draw(st.sampled_from(_MUTATIONS))(draw, request)
    return request


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A message to the WebSocket, nearly right."""
    valid: Any = draw(
        st.sampled_from(
            (
                {"op": "subscribe", "ids": ["a", "b"]},
                {"op": "subscribe", "tasks": {"a": None, "b": "1-1"}},
                {"op": "unsubscribe", "ids": ["a"]},
                {"op": "ping"},
            )
        )
    )
    body = json.dumps(valid).encode()
    for _ in range(draw(st.integers(0, 3))):
        body = draw(st.sampled_from((_odd_value, _odd_key, _odd_bytes)))(draw, body)
    return body


def _odd_value(draw: st.DrawFn, body: bytes) -> bytes:
    """Some value of the JSON replaced."""
    places = _values(body)
    if not places:
        return body + draw(st.sampled_from(_ODD_VALUES))
    start, end = draw(st.sampled_from(places))
    return body[:start] + draw(st.sampled_from(_ODD_VALUES)) + body[end:]


def _odd_key(draw: st.DrawFn, body: bytes) -> bytes:
    """A member put before another."""
    opening = [at + 1 for at, octet in enumerate(body) if octet == ord("{")]
    at = draw(st.sampled_from(opening or [0]))
    member = draw(st.sampled_from(_ODD_KEYS)) + b":" + draw(st.sampled_from(_ODD_VALUES))
    return body[:at] + member + b"," + body[at:]


def _odd_bytes(draw: st.DrawFn, body: bytes) -> bytes:
    """Some octets replaced, put in or taken out."""
    start = draw(st.integers(0, len(body)))
    end = draw(st.sampled_from((start, start + 1, len(body))))
    return body[:start] + draw(st.binary(max_size=4)) + body[end:]


def _values(body: bytes) -> list[tuple[int, int]]:
    """Where values without members stand, roughly: behind a colon, a bracket or a comma."""
    places = []
    for at, octet in enumerate(body):
        if octet in b":[,":
            start = at + 1
            while body[start : start + 1] == b" ":
                start += 1
            end = start
            if body[start : start + 1] == b'"':
                end = body.find(b'"', start + 1) + 1 or len(body)
            while end < len(body) and body[end] not in b",]}":
                end += 1
            places.append((start, end))
    return places


def _in_body(change: Any) -> Any:
    return lambda draw, request: replace(request, body=change(draw, request.body))


_DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda packed: packed,
    lambda packed: packed * 2,
    lambda packed: packed[:-4],
    lambda packed: packed[:5],
    lambda packed: packed + b"x",
    lambda packed: packed[:12] + b"\xff" + packed[13:],
)


def _packed(draw: st.DrawFn, request: Request) -> Request:
    """Compressed; mostly damaged."""
    body = draw(st.sampled_from(_DAMAGES))(gzip.compress(request.body, mtime=0))
    return replace(request, body=body, headers=(*request.headers, (b"Content-Encoding", b"gzip")))


def _odd_header(draw: st.DrawFn, request: Request) -> Request:
    name, value = draw(st.sampled_from(_ODD_HEADERS))
    kept = tuple(pair for pair in request.headers if pair[0] != name)
    return replace(request, headers=(*kept, (name, value)))


def _odd_query(draw: st.DrawFn, request: Request) -> Request:
    return replace(request, query=draw(st.sampled_from(_ODD_QUERIES)))


def _odd_path(draw: st.DrawFn, request: Request) -> Request:
    """The segment that is a parameter, or the last one, replaced."""
    segments = request.path.split(b"/")
    at = 3 if "{" in request.route else len(segments) - 1
    segments[at] = draw(st.sampled_from(_ODD_SEGMENTS))
    return replace(request, path=b"/".join(segments))


def _odd_method(draw: st.DrawFn, request: Request) -> Request:
    methods = ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "POST")
    return replace(request, method=draw(st.sampled_from(methods)))


_MUTATIONS = (
    _in_body(_odd_value), _in_body(_odd_value), _in_body(_odd_key), _in_body(_odd_bytes),
    _packed, _odd_header, _odd_header, _odd_query, _odd_path, _odd_method,
)  # fmt: skip
