"""What an object means, from each process to each: data stays data, and values arrive as values."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import EncodeError
from kombu.message import Message
from kombu.utils import json as kombus

from gateway.rabbitmq.task_message import MessageOptions, task_body, template
from gateway.schedules.schedule_request import parse_schedule
from gateway.states.records import decode as read_record
from gateway.states.state import state_of
from gateway.submitting.celery_options import client_options
from penstock.wire.headers import JSON_HEADER
from penstock.wire.json_meaning import DATA, mark_of, mixed
from penstock.worker.app import Penstock
from penstock.worker.beat.schedule_entries import read_definition
from penstock.worker.consuming.guarded import read_body
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.support.json_shapes import PYTHON_VALUES, exact, lookalike, spelled, tree
from topology.layout import load

DATETIME = datetime(2020, 1, 1, tzinfo=UTC)
LOOKALIKE = {"__type__": "datetime", "__value__": "2020-01-01T00:00:00+00:00"}
UNKNOWN = {"__type__": "x", "__value__": 1}
NOTHING = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

RANDOM = st.randoms(use_true_random=False)


@pytest.fixture(scope="module")
def app() -> Iterator[Penstock]:
    with build_app(WorkerConfig(), load()) as app:
        yield app


@pytest.fixture(scope="module")
def stock() -> Iterator[Celery]:
    with Celery("stock", backend="redis://127.0.0.1:1/0", set_as_current=False) as stock:
        yield stock


def published(app: Celery, body: Any, headers: dict[str, Any] | None = None) -> Message:
    """What a consumer gets of what a producer of the application publishes."""
    headers = {} if headers is None else headers
    producer = app.amqp.Producer(None)
    data, _, _ = producer._prepare(body, "json", headers=headers)
    return message(data.encode() if isinstance(data, str) else data, headers)


def message(body: bytes, headers: dict[str, Any] | None = None) -> Message:
    return Message(
        body=body,
        content_type="application/json",
        content_encoding="utf-8",
        headers=headers,
        accept={"application/json"},
    )


def read(made: Message) -> Any:
    read_body(made, {})
    return made.payload


def with_values(rng: random.Random, value: Any) -> Any:
    """The same with some of its scalars, and of its lookalikes' values, as values of Python."""
    if isinstance(value, dict):
        return {key: with_values(rng, member) for key, member in value.items()}
    if isinstance(value, list):
        return [with_values(rng, one) for one in value]
    return rng.choice(PYTHON_VALUES) if rng.random() < 0.4 else value


@given(RANDOM)
def test_what_one_task_passes_to_the_next_arrives_as_it_was(app: Penstock, rng: random.Random):
    body = [[with_values(rng, tree(rng, big=True))], {"k": lookalike(rng)}, NOTHING]
    first = published(app, body)
    assert repr(read(first)) == repr(body)

    again = published(app, first.payload, dict(first.headers))  # as a retry does
    assert repr(read(again)) == repr(body)


@given(RANDOM)
def test_what_a_client_sent_is_what_the_task_gets(rng: random.Random):
    value = tree(rng, big=True)
    args = spelled(rng, [value]).encode()

    arrived = read(message(task_body(args, b"{}"), {JSON_HEADER: DATA}))

    assert exact(arrived[0]) == exact([value])


def test_the_gateway_says_that_all_it_publishes_is_data():
    made = template(
        "demo.add", "tasks", "default", MessageOptions(), origin="penstock@here", id_length=4
    )

    assert b"\x0fx-penstock-jsonS\x00\x00\x00\x04data" in made.table


def test_stock_messages_arrive_typed(stock: Celery, app: Penstock):
    body = [list(PYTHON_VALUES), {}, NOTHING]

    assert read(published(stock, body))[0] == list(PYTHON_VALUES)
    plain = published(app, body)
    assert JSON_HEADER not in plain.headers
    assert plain.payload == body, "a stock worker reads what ours publish"


def test_a_stock_worker_reads_the_values_beside_data(app: Penstock):
    made = published(app, [[DATETIME, LOOKALIKE, UNKNOWN], {}, NOTHING])

    moment, *objects = made.payload[0]
    assert moment == DATETIME
    assert objects == [{**LOOKALIKE, "__data__": None}, {**UNKNOWN, "__data__": None}]
    assert read(made)[0] == [DATETIME, LOOKALIKE, UNKNOWN]


@pytest.mark.parametrize(
    "header", [5, None, "", "mixed", "mixed __type__", "mixed x", ["data"], {"data": 1}, "DATA"]
)
def test_a_header_that_says_nothing_is_as_none(header: Any):
    body = json.dumps([[LOOKALIKE, UNKNOWN], {}, NOTHING]).encode()

    assert read(message(body, {JSON_HEADER: header}))[0] == [DATETIME, UNKNOWN]


@pytest.mark.parametrize(
    "found",
    [
        UNKNOWN,
        {"__type__": ["datetime"], "__value__": 1},
        {"__type__": "datetime", "__value__": "soon"},
        {"__type__": "uuid", "__value__": 5},
        {"__type__": "decimal", "__value__": "x"},
        {"__type__": "base64", "__value__": "A"},
    ],
)
def test_what_is_no_value_of_any_type_is_an_object_and_raises_nothing(found: Any):
    assert read(message(json.dumps([[found], {}, NOTHING]).encode()))[0] == [found]


def test_what_has_no_json_is_an_encode_error(app: Penstock):
    with pytest.raises(EncodeError):
        published(app, [[object()], {}, NOTHING])


def test_other_serialisers_say_nothing(app: Penstock):
    headers: dict[str, Any] = {JSON_HEADER: DATA}
    app.amqp.Producer(None)._prepare([UNKNOWN], "pickle", headers=headers)

    assert headers == {}


@given(RANDOM)
def test_a_result_is_shown_as_it_is_and_read_as_it_was(app: Penstock, rng: random.Random):
    result = with_values(rng, tree(rng, big=True))
    record = "{" + stored(app, result)

    shown = shown_result(record)
    assert exact(json.loads(shown)) == exact(json.loads(kombus.dumps(result)))
    assert repr(app.backend.decode_result(record)["result"]) == repr(result)
    assert repr(app.backend.decode_result(record.encode())["result"]) == repr(result)


def shown_result(record: str) -> bytes:
    """The result in the API's answer."""
    found = read_record(record.encode())
    assert found is not None
    return state_of("i", found, None).result or b""


def stored(app: Penstock, result: Any, state: str = "SUCCESS") -> str:
    meta = app.backend._meta("i", result, state, None, Context({"id": "i", "task": "demo.add"}))
    return str(app.backend._body(meta))


def test_a_stock_client_reads_a_result_beside_data(app: Penstock, stock: Celery):
    meta = stock.backend.decode_result("{" + stored(app, [DATETIME, UNKNOWN]))

    assert meta["result"] == [DATETIME, {**UNKNOWN, "__data__": None}]


def test_a_stock_result_is_read_typed(app: Penstock, stock: Celery):
    meta = {"status": "SUCCESS", "result": list(PYTHON_VALUES)}

    assert app.backend.decode_result(stock.backend.encode(meta))["result"] == list(PYTHON_VALUES)


@given(RANDOM)
def test_the_parts_of_a_chord_are_joined_as_they_were(app: Penstock, rng: random.Random):
    result = with_values(rng, tree(rng, big=True))
    part = app.backend.encode([1, "i", "SUCCESS", result])

    joined = app.backend._unpack_chord_result(part.encode(), app.backend.decode)
    assert repr(joined) == repr(result)
    app.backend._unpack_chord_result(part, kombus.loads)  # a stock worker may join them


def test_a_mark_stands_only_where_a_mark_is():
    assert mark_of(mixed("__data__")) == "__data__"
    assert mark_of(mixed("__data_0123456789abcdef__")) == "__data_0123456789abcdef__"


@given(RANDOM)
def test_a_schedule_keeps_its_arguments_through_beat(rng: random.Random):
    args, kwargs = [tree(rng)], {"k": lookalike(rng)}
    body = {"task": "demo.add", "args": args, "kwargs": kwargs, "crontab": {"minute": "5"}}
    options = {"options": {"headers": {"a": "b"}}} if rng.random() < 0.5 else {}
    text = parse_schedule(json.dumps({**body, **options}).encode()).definition("x").decode()
    definition = json.loads(text)

    told = read_definition(text)

    assert exact([told["args"], told["kwargs"]]) == exact([args, kwargs])
    assert told["schedule"].stored == definition["schedule"]
    assert client_options(definition["options"]) == (options.get("options") or {})


def test_an_entry_that_python_saved_keeps_its_datetimes():
    moment = {"__type__": "datetime", "year": 2020, "month": 1, "day": 1}
    every = {"__type__": "interval", "every": 5, "relative": False}
    entry = {"args": [moment, UNKNOWN], "schedule": every}

    told = read_definition(json.dumps(entry))

    assert told["args"] == [DATETIME, UNKNOWN]
