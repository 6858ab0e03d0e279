"""Records that an app stores as pickle, MessagePack or YAML."""

import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery.exceptions import TaskRevokedError

from gateway.states.records import decode
from gateway.states.state import state_of


def meta(status: str, result: Any) -> dict[str, Any]:
    """Make what `Backend._get_result_meta` makes, with `result_extended`."""
    return {
        "status": status, "result": result, "traceback": None, "children": [],
        "date_done": "2026-01-31T10:00:00+00:00", "name": "proj.add", "worker": "w@h",
        "retries": 2, "task_id": "i",
    }  # fmt: skip


def test_a_task_that_reports_without_a_state_is_in_progress():
    stored: dict[str, Any] = {
        "status": None,
        "result": {"page": 3},
        "traceback": None,
        "children": [],
    }
    yaml = b"children: []\nresult:\n  page: 3\nstatus: null\ntask_id: i\n"
    told = [
        decode(data)
        for data in (
            json.dumps(stored).encode(), pickle.dumps(stored), msgspec.msgpack.encode(stored), yaml,
        )
    ]  # fmt: skip

    assert [one and one.status for one in told] == ["PROGRESS"] * 4
    assert told[0] is not None
    assert bytes(told[0].result) == b'{"page":3}'
    assert decode(b'{"status": 5}') is None


class Own:
    """A class of the app's."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.when = datetime(2026, 1, 31, tzinfo=UTC)


class Evil:
    """Runs something where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_tells_its_state_and_runs_nothing(protocol: int, tmp_path: Path):
    file = tmp_path / "evil"
    result = [Own(1), {"a": {1, 2}}, Evil(file), b"x"]
    record = decode(pickle.dumps(meta("SUCCESS", result), protocol))

    assert record is not None
    state = state_of("i", record, None)
    assert not file.exists()
    assert (state.state, state.task, state.worker, state.retries) == (
        "SUCCESS", "proj.add", "w@h", 2,
    )  # fmt: skip
    assert state.finished_at == "2026-01-31T10:00:00.000Z"
    assert state.result is None
    assert "pickle" in str(state.result_absent)
    body = msgspec.json.decode(state.to_json(admin=True))
    assert "result" not in body
    assert "pickle" in body["result_absent"]


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        ("FAILURE", ValueError("no", 3), {"type": "ValueError", "message": "no, 3"}),
        (
            "REVOKED",
            TaskRevokedError("expired"),
            {"type": "TaskRevokedError", "message": "expired"},
        ),
    ],
)
def test_a_pickled_error_is_told(status: str, error: Exception, told: dict[str, str]):
    record = decode(pickle.dumps(meta(status, error), 2))

    assert record is not None
    state = state_of("i", record, None)
    assert (state.state, state.error) == (status, told)
    assert state.result_absent is None


def test_message_pack_and_yaml():
    packed = msgspec.msgpack.encode(meta("SUCCESS", [1]))
    lines = (
        "children: []\ndate_done: '2026-01-31T10:00:00+00:00'\nresult:\n  exc_message: [no]\n"
        "  exc_type: ValueError\nstatus: FAILURE\ntask_id: i\ntraceback: null\n"
    )
    for data, state, named in ((packed, "SUCCESS", "msgpack"), (lines.encode(), "FAILURE", "yaml")):
        record = decode(data)
        assert record is not None
        assert (record.status, record.serializer) == (state, named)
        assert record.date_done == "2026-01-31T10:00:00+00:00"


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80", b"\x80\x02", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x86\xa1", b"x",
     pickle.dumps([1]), pickle.dumps({"status": 5}), pickle.dumps(meta("SUCCESS", 1))[:-9]],
)  # fmt: skip
def test_anything_else_is_no_record(data: bytes):
    assert decode(data) is None


@pytest.mark.parametrize("children", [None, []])
def test_revoked_is_an_end_once_the_task_was_dropped(children: list[Any] | None):
    """A worker of Celery 5.6 or later that was asked to revoke a task stores no list."""
    error = {"exc_type": "TaskRevokedError", "exc_message": ['"children": []'], "exc_module": "c"}
    stored = {**meta("REVOKED", error), "children": children}
    pickled = {**stored, "result": TaskRevokedError("revoked")}
    yaml = f"children: {'null' if children is None else '[]'}\nstatus: REVOKED\n".encode()

    for data in (
        json.dumps(stored).encode(),
        msgspec.json.encode(stored),
        pickle.dumps(pickled, 2),
        msgspec.msgpack.encode(stored),
        yaml,
    ):
        record = decode(data)
        assert record is not None
        assert record.status == ("PENDING" if children is None else "REVOKED")


def test_text_like_the_mark_of_a_request_is_no_mark():
    error = {
        "exc_type": "E",
        "exc_message": ['"children": null', '\\"children": null'],
        "exc_module": "c",
    }
    record = decode(json.dumps(meta("REVOKED", error)).encode())

    assert record is not None
    assert record.status == "REVOKED"
