"""RESP2 as it arrives: in any pieces; and cursors, frames and events as bytes."""

import json
import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redis.resp import ProtocolError, Replies, command
from gateway.states.state import State
from gateway.timestamps import rfc3339
from gateway.watching.events import (
    close_frame,
    decode_event,
    error_event,
    gap_event,
    position,
    state_event,
    text_frame,
)

_NOTICES = st.tuples(st.just(b"message"), st.binary(max_size=60), st.binary(max_size=200))
_REPLIES = st.lists(
    st.lists(st.binary(max_size=200), min_size=1, max_size=4) | _NOTICES.map(list), max_size=8
)


@given(_REPLIES, st.lists(st.integers(1, 50), min_size=1, max_size=10))
def test_replies_are_the_same_in_whatever_pieces_they_come(replies, sizes):
    data = b"".join(command(*reply) for reply in replies)
    reader = Replies()
    found = []
    position_, turn = 0, 0
    while position_ < len(data):
        size = sizes[turn % len(sizes)]
        found += reader.feed(data[position_ : position_ + size])
        position_, turn = position_ + size, turn + 1

    assert found == replies


def test_integers_nothing_and_simple_strings_are_read():
    data = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:17\r\n+PONG\r\n*2\r\n$4\r\npong\r\n$-1\r\n"

    assert Replies().feed(data) == [[b"subscribe", b"x", 17], [b"PONG"], [b"pong", None]]


@pytest.mark.parametrize(
    "data",
    [
        b"-ERR no\r\n", b"HTTP/1.1 400\r\n", b"*x\r\n", b"*1\r\n!3\r\n",
        b"*3\r\n$7\r\nmessage\r\n$x\r\n", b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$x\r\n",
    ],
)  # fmt: skip
def test_what_is_no_resp_is_an_error(data):
    with pytest.raises(ProtocolError):
        Replies().feed(data)


def test_cursors_grow_by_time_then_by_number():
    assert (
        position("0-0") < position("5-9") < position("5-10") < position("6-0")
        < position("18446744073709551615-18446744073709551615")
    )  # fmt: skip


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 100_000])
def test_frames_of_every_length_are_headed_right(size):
    head = (
        bytes((0x81, size))
        if size < 126
        else b"\x81\x7e" + struct.pack(">H", size)
        if size < 65_536
        else b"\x81\x7f" + struct.pack(">Q", size)
    )

    assert text_frame(b"x" * size) == head + b"x" * size


def test_a_close_frame_holds_its_code_and_reason():
    assert close_frame(1013, b"slow") == b"\x88\x06\x03\xf5slow"


def test_messages_of_every_kind_are_json_objects_with_their_type():
    state = State(id="a", state="FAILURE", cursor="1-1", error={"type": "E", "message": "m"},
                  traceback="secret")  # fmt: skip
    events = [
        state_event(state),
        decode_event("a", b'{"cursor":"1-2","log":{"stream":"stdout","line":"x"}}', None),
        gap_event("a"),
        error_event("invalid-request", "no", "a"),
        error_event("malformed-json", "no"),
    ]
    found = [json.loads(event.message(admin=False)) for event in events if event is not None]
    shown_to_admin = state_event(state).message(admin=True)

    assert [message["type"] for message in found] == ["state", "log", "gap", "error", "error"]
    assert found[0]["cursor"] == "1-1"
    assert "secret" not in json.dumps(found)
    assert b"secret" in shown_to_admin
    assert found[1] == {"type": "log", "cursor": "1-2", "id": "a", "stream": "stdout", "line": "x"}
    assert found[4] == {"type": "error", "code": "malformed-json", "detail": "no"}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"1", b'{"status":""}', b'{"log":null}', b"\xff", b"[" * 100_000]
)
def test_notices_that_are_no_records_are_let_go(data):
    assert decode_event("a", data, None) is None


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1", "1-1-1", "9" * 30 + "-0", ""])
def test_a_record_with_a_strange_cursor_has_none(cursor):
    data = json.dumps({"cursor": cursor, "status": "STARTED"}).encode()
    event = decode_event("a", data, None)

    assert event is not None
    assert event.cursor is None


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"status": "SUCCESS", "result": "a\udc80"}, {"result": "a\ufffd"}),
        ({"status": "PROGRESS", "result": {"x": "\ud800"}}, {"progress": {"x": "\ufffd"}}),
        (
            {
                "status": "FAILURE",
                "result": {"exc_type": "OSError", "exc_message": ["\udcff.txt"]},
                "traceback": "in \udcff.txt",
            },
            {"error": {"type": "OSError", "message": "\ufffd.txt", "traceback": "in \ufffd.txt"}},
        ),
        (
            {"status": "STARTED", "log": {"stream": "stdout", "line": "\udc80"}},
            {"type": "log", "line": "\ufffd"},
        ),
        ({"status": "SUCCESS", "result": ["\U0001f600", "\udc80"]}, {"result": ["😀", "\ufffd"]}),
    ],
)
def test_lone_surrogates_which_are_no_text_elsewhere_are_told_as_unknown_characters(record, told):
    event = decode_event("a", json.dumps(record).encode(), None)

    assert event is not None
    assert event.final == (record["status"] in {"SUCCESS", "FAILURE"})
    found = json.loads(event.message(admin=True))
    assert {name: found[name] for name in told} == told


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("2026-01-31T12:00:00.123999+00:00", "2026-01-31T12:00:00.123Z"),
        ("2026-01-31T12:00:00.123999", "2026-01-31T12:00:00.123Z"),
        ("2026-01-31T14:00:00.123999+02:00", "2026-01-31T12:00:00.123Z"),
        ("2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00.000Z"),
        ("2026-W05-6T12:00:00.123999+00:00", "2026-01-31T12:00:00.123Z"),
        ("2026-99-31T12:00:00.123999+00:00", None),
        ("yesterday", None),
    ],
)
def test_times_of_every_iso_form_are_told_in_one(stored, told):
    event = decode_event(
        "a", json.dumps({"status": "STARTED", "started_at": stored}).encode(), None
    )

    assert event is not None
    assert json.loads(event.message(admin=False)).get("started_at") == told


@given(st.integers(0, 4_000_000_000_000))
def test_unix_times_are_told_to_the_millisecond(milliseconds):
    told = rfc3339(milliseconds / 1000)

    assert datetime.fromisoformat(told) == datetime.fromtimestamp(0, UTC) + timedelta(
        milliseconds=milliseconds
    )
