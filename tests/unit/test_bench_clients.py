"""The bench's own clients count right, or its figures mean nothing."""

import asyncio
import json
import struct
import time

import pytest

from bench.apps.changes import change, command
from bench.apps.churners import Client, WrongError
from bench.apps.ends_socket import EndsSocket
from bench.apps.filler import Messages, task_id
from bench.apps.raw_publisher import Confirms, message
from bench.apps.watchers import Tally, WebSocketClient
from bench.documents import json_body, ndjson
from penstock.wire.keys import TaskKeys


def ack(tag: int, *, multiple: bool = False, method: int = 80) -> bytes:
    payload = struct.pack(">HHQB", 60, method, tag, multiple)
    return struct.pack(">BHI", 1, 1, len(payload)) + payload + b"\xce"


def text_frame(payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes((0x81, len(payload))) + payload
    return bytes((0x81, 126)) + len(payload).to_bytes(2, "big") + payload


class FakeTransport:
    """What a client writes."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True


def client(tally: Tally) -> tuple[WebSocketClient, FakeTransport]:
    one, transport = WebSocketClient("task-1", b"GET /", tally), FakeTransport()
    one.connection_made(transport)  # type: ignore[arg-type]  # the part of it that is used
    one.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    return one, transport


def test_confirms_are_counted_one_by_one_and_up_to_a_tag():
    confirms = Confirms()

    confirms.feed(ack(1) + ack(5, multiple=True) + ack(6))

    assert confirms.confirmed == 6


def test_a_confirm_that_comes_in_pieces_is_counted_once():
    confirms = Confirms()
    told = ack(3, multiple=True)
    for octet in told:
        confirms.feed(bytes((octet,)))

    assert confirms.confirmed == 3


def test_a_nack_is_no_confirm():
    confirms = Confirms()

    confirms.feed(ack(1, method=120))

    assert (confirms.confirmed, confirms.refused) == (0, 1)


def test_a_close_of_the_channel_is_not_mistaken_for_a_confirm():
    payload = struct.pack(">HH", 20, 40)
    with pytest.raises(RuntimeError, match="RabbitMQ said"):
        Confirms().feed(struct.pack(">BHI", 1, 1, len(payload)) + payload + b"\xce")


def test_the_raw_publisher_writes_whole_frames():
    frames, at, kinds = message(1), 0, []
    while at < len(frames):
        kind, _, size = struct.unpack_from(">BHI", frames, at)
        kinds.append(kind)
        at += size + 8
        assert frames[at - 1 : at] == b"\xce"

    assert kinds == [1, 2, 3]


def test_a_watcher_hears_the_changes_and_the_end_of_its_task():
    tally = Tally(1)
    one, _ = client(tally)
    stamp = f"t={time.monotonic_ns()};"
    progress = json.dumps({"state": "PROGRESS", "progress": {"message": stamp}}).encode()
    final = json.dumps({"state": "SUCCESS", "result": stamp + "x" * 200}).replace("t=", "t=1")
    one.data_received(text_frame(progress) + text_frame(final.encode()))

    told = tally.told()
    assert (told["changes"], told["finals"], told["missing"], told["twice"]) == (2, 1, 0, 0)
    assert tally.done.is_set()


def test_a_final_state_told_twice_is_noticed():
    tally = Tally(1)
    one, _ = client(tally)

    one.data_received(text_frame(b'{"state":"SUCCESS"}') * 2)

    assert tally.told()["twice"] == 1


def test_frames_in_pieces_are_put_together():
    tally = Tally(1)
    one, _ = client(tally)
    for octet in text_frame(b'{"state":"SUCCESS","result":"' + b"x" * 300 + b'"}'):
        one.data_received(bytes((octet,)))

    assert tally.told()["finals"] == 1


def test_a_ping_is_answered_with_a_masked_pong_of_the_same_bytes():
    one, transport = client(Tally(1))

    one.data_received(b"\x89\x02hi")

    assert transport.written[-1] == b"\x8a\x82\x00\x00\x00\x00hi"


def test_a_refused_handshake_is_an_error():
    tally = Tally(1)
    one = WebSocketClient("task-1", b"GET /", tally)
    one.connection_made(FakeTransport())  # type: ignore[arg-type]
    one.data_received(b"HTTP/1.1 404 Not Found\r\n\r\n{}")

    assert tally.told()["errors"] == 1


def test_a_connection_that_ends_before_its_task_is_noticed():
    tally = Tally(1)
    one, _ = client(tally)

    one.connection_lost(None)

    assert tally.told()["closed_early"] == 1


def test_a_change_is_the_record_that_a_worker_stores():
    told = change(b"sha", "id-1", 3, final=True)

    assert b"celery-task-meta-id-1" in told
    assert TaskKeys.of("id-1").events.encode() in told
    assert b'"status":"SUCCESS"' in told


def test_a_redis_command_tells_the_length_of_each_part():
    assert command(b"GET", b"ab") == b"*2\r\n$3\r\nGET\r\n$2\r\nab\r\n"


def test_bodies_hold_as_many_documents_as_asked_for():
    assert len(ndjson(7).splitlines()) == 7
    assert len(json.loads(json_body(7))) == 7
    assert isinstance(json.loads(json_body(1)), dict)


async def churner(*told: dict[str, str]) -> Client:
    """A client that comes and goes, and what it was told until the gateway closed."""
    reader, transport = asyncio.StreamReader(), FakeTransport()
    one = Client(reader, transport)  # type: ignore[arg-type]  # the part of it that is used
    reader.feed_data(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    for one_told in told:
        reader.feed_data(text_frame(json.dumps(one_told).encode()))
    reader.feed_data(b"\x88\x02\x03\xe8")
    await one.open("GET / HTTP/1.1\r\n\r\n", b"101")
    await one.done()
    return one


async def test_a_churner_knows_the_cursors_and_the_ends_that_it_was_told():
    one = await churner(
        {"id": "a", "cursor": "1-0", "state": "STARTED"},
        {"id": "b", "cursor": "2-0", "state": "SUCCESS"},
        {"id": "a", "type": "gap"},
        {"id": "a", "cursor": "3-0", "state": "PROGRESS"},
    )

    assert one.cursors == {"a": "3-0", "b": "2-0"}
    assert one.ended == {"b"}


@pytest.mark.parametrize(
    "told",
    [
        [{"id": "a", "state": "SUCCESS"}, {"id": "a", "state": "SUCCESS"}],
        [{"id": "a", "state": "SUCCESS"}, {"id": "a", "state": "PROGRESS"}],
        [{"type": "error", "code": "internal-error"}],
    ],
)
async def test_a_churner_tells_what_is_wrong(told):
    with pytest.raises(WrongError):
        await churner(*told)


def test_a_filled_queue_gets_its_tasks_in_turn_each_under_an_id_of_its_own():
    tasks = [{"task": "demo.plus", "args": [2, 3]}, {"task": "demo.nap", "args": [5]}]
    batches = list(Messages("default", tasks, "p" * 24).batches(1, 250))

    assert [len(batch) for batch in batches] == [100, 100, 50]
    written = [frames for batch in batches for frames in batch]
    for number, frames in enumerate(written):
        assert frames.count(task_id("p" * 24, number).encode()) == 4
        assert (b"demo.plus" in frames, b"[[5],{}," in frames) == (number % 2 == 0, number % 2 == 1)


def test_large_messages_are_written_a_few_at_a_time():
    batches = list(
        Messages("default", [{"task": "t", "args": ["x" * 5_000_000]}], "p").batches(1, 5)
    )

    assert [len(batch) for batch in batches] == [3, 2]


async def ends_socket() -> tuple[EndsSocket, FakeTransport]:
    one, transport = EndsSocket(), FakeTransport()
    one.connection_made(transport)  # type: ignore[arg-type]  # the part of it that is used
    one.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    await one.upgraded
    return one, transport


def unmasked(written: bytes) -> dict[str, object]:
    """What a client's frame says; its mask is zero."""
    told: dict[str, object] = json.loads(written[written.index(b"{") :])
    return told


async def test_ends_are_asked_for_together_and_told_to_whom_they_belong():
    one, transport = await ends_socket()
    first, second = one.end("a"), one.end("b")
    await asyncio.sleep(0)
    one.data_received(text_frame(b'{"type":"state","id":"b","state":"STARTED"}'))
    one.data_received(text_frame(b'{"type":"state","id":"b","state":"FAILURE"}'))

    assert unmasked(transport.written[0]) == {"op": "subscribe", "ids": ["a", "b"]}
    assert (await second, first.done()) == (b"FAILURE", False)


async def test_tasks_that_have_ended_leave_the_socket_before_it_is_full():
    one, transport = await ends_socket()
    ends = [one.end(f"id-{number}") for number in range(600)]
    await asyncio.sleep(0)
    for number in range(600):
        told = json.dumps({"type": "state", "id": f"id-{number}", "state": "SUCCESS"})
        one.data_received(text_frame(told.encode()))
    await asyncio.gather(*ends)

    asked, left = map(unmasked, transport.written)
    assert (asked["op"], left["op"]) == ("subscribe", "unsubscribe")
    assert left["ids"] == [f"id-{number}" for number in range(500)]


async def test_an_end_that_cannot_come_any_more_is_an_error():
    one, _ = await ends_socket()
    end = one.end("a")
    one.connection_lost(None)

    with pytest.raises(RuntimeError, match="closed the socket"):
        await end
