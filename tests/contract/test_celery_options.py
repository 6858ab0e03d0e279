"""One mapping of options, against Celery: the gateway publishes what a worker would."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pamqp.frame
import pytest
from celery import Celery
from kombu.entity import Queue

from gateway.access.auth import ANONYMOUS
from gateway.access.carried import Carried
from gateway.access.copies import Copy
from gateway.access.task_id import TaskIds
from gateway.rabbitmq.task_message import template
from gateway.submitting.celery_options import (
    client_options,
    later_options,
    message_options,
    own_headers,
)
from gateway.submitting.destinations import Destinations
from gateway.submitting.plan import CanvasPart, Stamp, TaskPlan
from gateway.submitting.start_times import times
from gateway.submitting.task_request import Options
from topology.layout import load

TASK_ID = TaskIds([(1, b"k" * 32)]).issue("acme")
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
CARRIED = Carried("r" * 128, TRACE, (("tracestate", "a=1,b=2"), ("baggage", "user=7")))
SOON = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
EVERY_OPTION: dict[str, dict[str, Any]] = {
    "none": {},
    "queue": {"queue": "high_priority"},
    "exchange": {"exchange": "tasks", "routing_key": "high_priority"},
    "priority": {"priority": 3},
    "countdown": {"countdown": 60.0},
    "eta": {"eta": SOON},
    "expires in": {"expires": 90.0},
    "expires at": {"expires": SOON},
    "limits": {"time_limit": 30, "soft_time_limit": 12.5},
    "ignore_result": {"ignore_result": True},
    "headers": {"headers": {"a": "b", "n": 1, "nothing": None}},
    "callback": {"callback_url": "https://example.org/done"},
}
TIMES = ("eta", "expires")
COMPARED = (*TIMES, "timelimit", "group", "group_index")


def planned(given: dict[str, Any]) -> TaskPlan:
    options = msgspec.convert(given, Options)
    when = times(options, time.time())
    destination = Destinations(load()).resolve("demo.add", options, ANONYMOUS)
    return TaskPlan(
        task="demo.add",
        tenant="acme",
        options=options,
        destination=destination,
        when=when,
        address=(destination.exchange, destination.routing_key),
        tracked=True,
    )


def published_by_us(plan: TaskPlan, stamp: Stamp) -> tuple[dict[str, Any], Any]:
    """Headers and properties of the message that the gateway publishes."""
    made = template(
        "demo.add", *plan.address, message_options(plan, stamp),
        origin="penstock@here", id_length=len(TASK_ID),
    )  # fmt: skip
    data = made.frames(
        channel=b"\0\1", task_id=TASK_ID.encode(), body=b"[]", frame_max=131_072,
        headers=CARRIED.fields(),
    )  # fmt: skip
    size, _, _ = pamqp.frame.unmarshal(data)
    header: Any = pamqp.frame.unmarshal(data[size:])[2]
    return header.properties.headers, header.properties


def published_by_celery(plan: TaskPlan) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of the message that a worker would publish."""
    headers = own_headers(plan.options, plan.tenant, CARRIED)
    later = later_options(plan.options, headers, plan.when)
    for name in ("queue", "exchange", "routing_key"):
        later.pop(name, None)
    app = Celery(
        set_as_current=False, broker="memory://", backend="cache+memory://",
        task_queues=[Queue("celery")],
    )  # fmt: skip
    app.signature("demo.add", args=(1, 2), options=later).apply_async(task_id=TASK_ID)
    with app.connection_for_read() as connection:
        message = Queue("celery")(connection.default_channel).get()
    return message.headers, message.properties


def test_every_option_is_tried():
    assert {name for given in EVERY_OPTION.values() for name in given} == set(
        Options.__struct_fields__
    )


@pytest.mark.parametrize("given", EVERY_OPTION.values(), ids=EVERY_OPTION)
def test_the_gateway_and_a_worker_publish_alike(given):
    plan = planned(given)
    ours, properties = published_by_us(plan, Stamp())
    theirs, their_properties = published_by_celery(plan)

    for name in COMPARED:
        if name in TIMES and ours[name] is not None:
            mine, other = (datetime.fromisoformat(one[name]) for one in (ours, theirs))
            assert abs((mine - other).total_seconds()) < 5, name
        else:
            assert (ours[name], name) == (theirs[name], name)
    assert ours["ignore_result"] == bool(theirs["ignore_result"])
    own = {"x-penstock-tenant", "x-penstock-callback", *CARRIED.headers, *given.get("headers", {})}
    assert ours["traceparent"] == TRACE
    assert {name: ours.get(name) for name in own} == {name: theirs.get(name) for name in own}
    assert (properties.priority or 0) == their_properties["priority"]


@pytest.mark.parametrize("name", sorted(EVERY_OPTION.keys() - {"eta", "expires at"}))
def test_what_beat_keeps_is_read_back_as_the_client_wrote_it(name):
    given = EVERY_OPTION[name]
    options = msgspec.convert(given, Options)

    assert client_options(later_options(options, own_headers(options))) == given


def test_a_copy_and_a_member_of_a_group_say_so():
    stamp = Stamp(copy=Copy(TASK_ID, "c0ffee"), part=CanvasPart(group_id="g", group_index=4))
    headers, _ = published_by_us(planned({}), stamp)

    assert headers["x-penstock-copy"] == "c0ffee"
    assert (headers["group"], headers["group_index"]) == ("g", 4)
