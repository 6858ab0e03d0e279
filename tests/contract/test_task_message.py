"""Our task message against Celery's and py-amqp's own code: the byte seam of a submit."""

import json
from typing import Any

import amqp.serialization
import pamqp.frame
import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from gateway.access.task_id import TaskIds
from gateway.rabbitmq.field_table import encode_value
from gateway.rabbitmq.message import Message
from gateway.rabbitmq.task_message import MessageOptions, task_body, template

TASK_ID = TaskIds([(1, b"k" * 32)]).issue("acme")


def frames_of(data: bytes) -> list[Any]:
    frames = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == 7
        frames.append(frame)
        data = data[size:]
    return frames


def message(
    options: MessageOptions | None = None, body: bytes = b"[]", frame_max: int = 131_072
) -> tuple[Any, ContentHeader, bytes]:
    made = template(
        "demo.add",
        "tasks",
        "default",
        options or MessageOptions(),
        origin="penstock@here",
        id_length=len(TASK_ID),
    )
    publish, header, *bodies = frames_of(
        made.frames(channel=b"\x00\x07", task_id=TASK_ID.encode(), body=body, frame_max=frame_max)
    )
    assert all(isinstance(frame, ContentBody) for frame in bodies)
    return publish, header, b"".join(frame.value for frame in bodies)


def oracle(**options: Any) -> Any:
    app = Celery(set_as_current=False)
    return app.amqp.as_task_v2(
        TASK_ID, "demo.add", args=[1], kwargs={"y": 2}, origin="penstock@here", **options
    )


def test_headers_are_celerys_but_for_arguments_shown_and_what_the_json_means():
    expected = oracle(time_limit=30, soft_time_limit=25, expires=None, ignore_result=True)
    _, header, _ = message(
        MessageOptions(time_limit_s=30, soft_time_limit_s=25, ignore_result=True)
    )

    headers = dict(expected.headers)
    assert headers.pop("argsrepr") == "[1]"
    assert headers.pop("kwargsrepr") == "{'y': 2}"
    assert header.properties.headers == {**headers, "x-penstock-json": "data"}


def test_group_and_parents_are_celerys():
    expected = oracle(group_id="g", group_index=3, root_id="r", parent_id="p")
    _, header, _ = message(MessageOptions(group_id="g", group_index=3, root_id="r", parent_id="p"))

    for name in ("group", "group_index", "root_id", "parent_id"):
        assert (header.properties.headers or {})[name] == expected.headers[name]


def test_body_is_celerys():
    expected = oracle()
    _, _, body = message(body=task_body(b"[1]", b'{"y": 2}'))

    assert json.loads(body) == json.loads(json.dumps(expected.body))


def test_publish_is_persistent_mandatory_and_carries_its_id():
    publish, header, _ = message(MessageOptions(priority=7, expiration_ms=1500))

    assert isinstance(publish, Basic.Publish)
    assert (publish.exchange, publish.routing_key) == ("tasks", "default")
    assert publish.mandatory
    assert not publish.immediate
    properties = header.properties
    assert properties.delivery_mode == 2
    assert properties.correlation_id == properties.message_id == TASK_ID
    assert properties.priority == 7
    assert properties.expiration == "1500"
    assert (properties.content_type, properties.content_encoding) == ("application/json", "utf-8")


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 8176, 8177, 100_000])
def test_a_large_body_is_split_at_frame_max(size: int):
    body = bytes(index % 251 for index in range(size))
    _, header, joined = message(body=body, frame_max=4096)

    assert header.body_size == size
    assert joined == body


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 100_000])
def test_a_message_of_any_kind_carries_what_it_was_given(size: int):
    body = bytes(index % 251 for index in range(size))
    given = Message(
        exchange="", routing_key="q", headers={"a": [1, "b"]}, priority=3, correlation_id="c",
        persistent=False, mandatory=False,
    )  # fmt: skip
    publish, header, *bodies = frames_of(
        given.frames(
            channel=b"\x00\x07", task_id=b"t", body=body, frame_max=4096, message_id=b"m#1"
        )
    )

    assert (publish.exchange, publish.routing_key, publish.mandatory) == ("", "q", False)
    properties = header.properties
    assert (properties.headers, properties.priority) == ({"a": [1, "b"]}, 3)
    assert (properties.message_id, properties.correlation_id) == ("m#1", "c")
    assert (properties.delivery_mode, properties.reply_to) == (1, None)
    assert (properties.content_type, properties.content_encoding) == ("application/json", "utf-8")
    assert header.body_size == size
    assert b"".join(frame.value for frame in bodies) == body
    assert all(len(frame.value) <= 4096 - 8 for frame in bodies)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(VALUES)
def test_py_amqp_reads_every_header_value_as_it_was(value: Any):
    field = encode_value({"k": value})[1:]
    table, _ = amqp.serialization.loads("F", field, 0)

    assert table[0] == {"k": value}
