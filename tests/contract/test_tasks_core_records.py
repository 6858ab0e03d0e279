"""The bytes of states, messages and destinations, against Celery's own code; no server runs."""

import ast
import json
import math
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery import Celery
from celery.app.task import Context
from celery.exceptions import InvalidTaskError, Reject, TaskRevokedError
from kombu.exceptions import EncodeError

from penstock.wire.delay import delay_route
from penstock.wire.reserved_names import RESERVED_NAMES
from penstock.worker.app import Penstock
from penstock.worker.ending.ending import _rejected
from penstock.worker.ending.failures import MAX_TRACEBACK_CHARS, Failure
from penstock.worker.errors import (
    DelayNotSupportedError,
    PermanentError,
    ResultTooLarge,
    RetryableError,
)
from penstock.worker.messages.envelope import (
    OWN_ATTRIBUTES,
    PROTOCOL,
    body_parts,
    may_be_attribute,
    request_headers,
)
from penstock.worker.policy import OURS, POLICY
from penstock.worker.results.parts import cut
from penstock.worker.running.retrying import retry_delay_s
from penstock.worker.running.spec import TaskSpec
from penstock.worker.running.task_function import TaskFunction
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.periodic import SHIPPED
from tests.support.ends import _HOSTILE, expected, make
from topology.layout import load


@pytest.fixture(scope="module")
def app() -> Iterator[Penstock]:
    config = WorkerConfig(max_result_bytes=1000)
    with build_app(config, load()) as app:
        yield app


@pytest.fixture(scope="module")
def stock() -> Iterator[Celery]:
    with Celery("stock", backend="redis://127.0.0.1:1/0", set_as_current=False) as stock:
        yield stock


def record(app: Penstock, result: Any, state: str | None, **request: Any) -> str:
    """The record as the script would store it."""
    backend = app.backend
    context = Context({"id": "i", "task": "demo.add", "hostname": "w@h", **request})
    result = backend.encode_result(result, state)
    return '{"cursor":"1-0",' + backend._body(backend._meta("i", result, state, None, context))


def test_what_a_task_rejects_its_message_with_is_shown_once():
    answer = _rejected(Reject("why", requeue=True)).exception
    assert (repr(answer), answer.requeue) == ("reject requeue=True: why", True)


def test_a_report_without_a_state_is_progress(app: Penstock, stock: Celery):
    meta = stock.backend.decode_result(record(app, {"page": 3}, None))
    assert (meta["status"], meta["result"]) == ("PROGRESS", {"page": 3})


def test_celery_reads_our_records(app: Penstock, stock: Celery):
    meta = stock.backend.decode_result(record(app, {"x": [1, None]}, "SUCCESS", retries=2))
    assert (meta["status"], meta["result"]) == ("SUCCESS", {"x": [1, None]})
    assert (meta["name"], meta["worker"], meta["retries"]) == ("demo.add", "w@h", 2)
    assert (meta["task_id"], meta["children"], meta["traceback"]) == ("i", [], None)
    assert meta["date_done"].endswith("+00:00")

    meta = stock.backend.decode_result(record(app, ValueError("a", 1), "FAILURE"))
    assert repr(meta["result"]) == "ValueError('a', 1)"
    meta = stock.backend.decode_result(record(app, TaskRevokedError("revoked"), "REVOKED"))
    assert isinstance(meta["result"], TaskRevokedError)
    meta = stock.backend.decode_result(record(app, {"depth": 3}, "DIGGING"))
    assert (meta["result"], meta["date_done"]) == ({"depth": 3}, None)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1), KeyError("k"), ValueError(b"x"), OSError(2, "No such file", "x.txt"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text"), SystemExit(3), KeyboardInterrupt(),
        TimeLimitExceeded(5), RetryableError("later"), ValueError({"a": [1, None]}),
    ],
    ids=repr,
)  # fmt: skip
def test_celery_builds_the_exception_again_where_it_can(
    app: Penstock, stock: Celery, error: BaseException
):
    built = stock.backend.decode_result(record(app, error, "FAILURE"))["result"]

    assert (type(built), str(built)) == (type(error), str(error))
    assert isinstance(
        app.backend.decode_result(record(app, error, "FAILURE"))["result"], type(error)
    )


@pytest.mark.parametrize("kind", list(_HOSTILE))
def test_an_exception_that_cannot_be_asked_is_recorded(app: Penstock, kind: str):
    recipe = {"kind": "ExplodingError", "args": ["x"], "hostile": [kind]}
    told = json.loads("{" + record(app, make(recipe), "FAILURE").partition(",")[2])["result"]

    assert (told["type"], told["text"]) == expected(recipe)


def test_what_is_known_of_an_exception_is_bounded():
    error: BaseException = ValueError("x")
    for number in range(5000):
        error, error.__cause__ = RuntimeError(number), error
    group = ExceptionGroup("many", [ValueError(n) for n in range(5000)])
    begun = time.monotonic()

    for one in (error, group, ValueError("x" * 10_000_000), ValueError(*range(100_000))):
        failure = Failure.of(one)
        assert len(failure.traceback) <= MAX_TRACEBACK_CHARS + 100
        assert len(json.dumps(failure.record["exc_message"])) <= 100_000
        assert len(failure.shown) <= 1000
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "stored",
    [
        Failure.of(ValueError("x" * 5000)).record,
        {"exc_type": "ValueError", "exc_message": ["x" * 5000], "exc_module": "builtins"},
        "x" * 5000,
        None,
    ],
)
def test_an_error_too_long_to_be_stored_is_cut(stored: Any):
    told = cut(stored)

    assert told["text"] == ("None" if stored is None else "x" * 1000) + " …"
    assert told["exc_message"] == [told["text"]]
    assert told["type"] in {"ValueError", "Exception"}


def test_our_records_have_the_members_of_celerys(app: Penstock, stock: Celery):
    theirs = stock.backend._get_result_meta(5, "SUCCESS", None, None) | {"task_id": "i"}
    ours = json.loads(record(app, 5, "SUCCESS"))

    assert set(theirs) <= set(ours)
    assert list(ours)[:2] == ["cursor", "status"]


@pytest.mark.parametrize(
    "result", [math.nan, [math.inf], "\ud800", object(), {1: {2}} | {"f": len}]
)
def test_what_json_cannot_say_is_no_result(app: Penstock, result: Any):
    with pytest.raises(EncodeError):
        record(app, result, "SUCCESS")


def test_texts_and_numbers_that_other_readers_refuse_together_are_a_result(app: Penstock):
    assert json.loads(record(app, ["😀", "\\ud800", 10**400], "SUCCESS"))["result"][2] == 10**400


def test_a_result_over_the_limit_is_refused_before_what_follows(app: Penstock):
    app.backend.check_result("x" * 900)
    with pytest.raises(ResultTooLarge):
        app.backend.check_result("x" * 1000)


def test_celerys_messages_pass_our_checks(app: Penstock, stock: Celery):
    message = stock.amqp.as_task_v2(
        "i", "demo.add", (1, 2), {}, time_limit=5, soft_time_limit=2.5, retries=1
    )
    headers = request_headers(message.headers, message.headers)
    assert {name: headers[name] for name in message.headers} == message.headers
    assert set(message.headers) == set(PROTOCOL)
    assert headers["headers"] == {}
    assert body_parts(message.body) == list(message.body)
    body_parts([[], {}, None])
    for wrong in (5, {"x": 1}):
        with pytest.raises((TypeError, ValueError)):
            body_parts(wrong)
    with pytest.raises(InvalidTaskError):
        body_parts(["ab", {}, {}])


def test_headers_of_others_are_attributes_of_the_request_as_celerys_are(stock: Celery):
    message = stock.amqp.as_task_v2("i", "demo.add", (1, 2), {})
    others = {"foo": "bar", "traceparent": "00-1-2-01", "__django_structlog__": {"a": 1}}
    refused = dict.fromkeys(
        (*OWN_ATTRIBUTES, *dir(Context), *RESERVED_NAMES, "Called-Directly", "_made_tomorrow",
         "x-penstock-tenant")
    )  # fmt: skip
    own = {**message.headers, **dict.fromkeys(refused, 1), **message.headers, **others}
    found = request_headers(message.headers, own)
    request = Context(found)
    assert request.foo == request.get("foo") == request.headers["foo"] == "bar"
    assert request.traceparent == others["traceparent"]
    assert request.__django_structlog__ == {"a": 1}
    assert set(found) == {*message.headers, *others, "headers"}


def test_what_the_library_keeps_on_a_request_no_header_can_set():
    kept = {
        node.attr
        for path in Path("penstock/worker").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        and re.search(r"(^|\.)(request|context)$", ast.unparse(node.value))
    }  # fmt: skip
    assert kept >= OWN_ATTRIBUTES
    assert not {name for name in kept if may_be_attribute(name)}


class Producer:
    """Takes what would be published."""

    def __init__(self) -> None:
        self.published: dict[str, Any] = {}
        self.connection = SimpleNamespace()

    def publish(self, body: Any, **options: Any) -> None:
        self.published = {"body": body, **options}


def send(app: Penstock, eta: str | None = None, **options: Any) -> dict[str, Any]:
    """Address a message the way `send_task` does, and return what is published."""
    producer = Producer()
    options = app.amqp.router.route(options, "demo.add")
    message = app.amqp.as_task_v2("i", "demo.add", (1, 2))
    message.headers["eta"] = eta
    app.amqp.send_task_message(producer, "demo.add", message, **options)
    return producer.published


@pytest.mark.parametrize(
    ("options", "destination"),
    [
        ({}, ("tasks", "default")),
        ({"queue": "high_priority"}, ("", "high_priority")),
        ({"exchange": "events", "routing_key": "documents.x"}, ("events", "documents.x")),
        ({"exchange": "", "routing_key": "broadcast.w@h"}, ("", "broadcast.w@h")),
        ({"exchange": "broadcast", "routing_key": ""}, ("broadcast", "")),
        ({"queue": None, "exchange": None, "routing_key": None}, ("tasks", "default")),
    ],
)
def test_a_message_goes_where_its_caller_says(
    app: Penstock, options: dict[str, Any], destination: tuple[str, str]
):
    published = send(app, **options)

    assert (published["exchange"], published["routing_key"]) == destination
    assert published["mandatory"]
    assert published["delivery_mode"] == 2

    later = (app.now() + timedelta(seconds=99.5)).isoformat()
    published = send(app, eta=later, expiration=500, **options)
    if destination[1].startswith("broadcast."):
        destination = ("", f"own-{destination[1]}")
    assert (published["exchange"], published["routing_key"]) == delay_route(100, *destination)
    assert "expiration" not in published
    past = (app.now() - timedelta(seconds=1)).isoformat()
    published = send(app, eta=past, expiration=500, **options)
    assert not published["exchange"].startswith("penstock_delay")
    assert published["expiration"] == 500


def test_an_unknown_exchange_cannot_delay(app: Penstock):
    later = (app.now() + timedelta(seconds=9)).isoformat()
    with pytest.raises(DelayNotSupportedError):
        send(app, eta=later, exchange="unheard", routing_key="x")


def test_a_retry_goes_to_the_queue_of_its_delivery_without_the_brokers_headers(
    app: Penstock,
):
    task = app.tasks["demo.flaky"]
    request = Context(
        {
            "id": "i", "task": "demo.flaky", "args": [1], "kwargs": {}, "retries": 1,
            "timelimit": [9, 8], "x-penstock-tenant": "a", "x-death": [{}], "x-delivery-count": 3,
            "delivery_info": {
                "exchange": "penstock_delivery", "routing_key": "0.1.events.documents.x",
                "redelivered": True, "priority": 4, "queue": "mongo_queue",
            },
        }
    )  # fmt: skip
    signature = task.signature_from_request(request, countdown=2, retries=2)

    options = signature.options
    assert (options["exchange"], options["routing_key"]) == ("", "mongo_queue")
    assert "queue" not in options
    assert "redelivered" not in options
    assert options["headers"] == {"x-penstock-tenant": "a"}
    assert (options["priority"], options["time_limit"], options["retries"]) == (4, 9, 2)
    assert signature.args == (1,)


def test_retries_back_off_with_jitter():
    assert retry_delay_s(RetryableError("x", retry_in_s=2.1), 5) == 3
    assert retry_delay_s(RetryableError("x", retry_in_s=0), 5) == 1
    delays = {retry_delay_s(RetryableError("x"), 5) for _ in range(200)}
    assert delays <= set(range(16, 33))
    assert len(delays) > 5
    assert max(retry_delay_s(RetryableError("x"), 10_000) for _ in range(50)) <= 300


def test_the_policy_is_set(app: Penstock):
    app.be_a_worker()
    assert {name: app.conf[name] for name in POLICY} == dict(POLICY)
    assert {name: app.conf[name] for name in OURS} == {
        **OURS,
        "penstock_max_result_bytes": 1000,
        "penstock_first_schedule": SHIPPED,
    }
    assert app.conf.task_default_queue == "default"
    with pytest.raises(TypeError):
        app.tasks["demo.progress"].delay()


@pytest.mark.parametrize(
    ("task", "args"), [("demo.flaky", [1]), ("documents.store", ["readings", []])]
)
def test_what_cannot_be_published_goes_back_to_the_broker(task: str, args: list[Any]):
    """RabbitMQ is away for longer than a publish waits."""
    config = WorkerConfig(amqp_url="amqp://127.0.0.1:1//")
    with build_app(config, load()) as app:
        app.conf.task_publish_retry_policy = {"max_retries": 0}
        request = {
            "id": "i",
            "args": args,
            "kwargs": {},
            "called_directly": False,
            "ignore_result": True,
        }
        app.tasks[task].push_request(**request, delivery_info={"queue": "default"})

        def raise_retryable(*_: Any, **__: Any) -> None:
            raise RetryableError("x")

        def raise_permanent(*_: Any, **__: Any) -> None:
            raise PermanentError("x")

        for run in (raise_retryable, raise_permanent):
            with pytest.raises(Reject) as caught:
                app.tasks[task].execute(TaskFunction.of(run, takes_self=False), (), {})
            assert caught.value.requeue
            assert "refused" in str(caught.value.reason)


def noop() -> None:
    """Do nothing."""


async def coroutine() -> None:
    """Do nothing, later."""


@pytest.mark.parametrize("run", [noop, coroutine])
def test_a_soft_limit_above_the_hard_one_is_refused_as_celery_refuses_it(run: Any):
    spec = TaskSpec("demo.wrong", run, {"time_limit": 5, "soft_time_limit": 6})
    with pytest.raises(ValueError, match="soft_time_limit must be less than or equal"):
        build_app(WorkerConfig(), load(), [spec])


@pytest.mark.parametrize("run", [noop, coroutine])
def test_a_request_shows_the_limits_that_its_task_declares(run: Any):
    spec = TaskSpec("demo.limited", run, {"time_limit": 60, "soft_time_limit": 50})
    with build_app(WorkerConfig(redis_url="redis://127.0.0.1:1/0"), load(), [spec]) as app:
        task = app.tasks["demo.limited"]
        for sent, shown in ((None, [60, 50]), ([None, None], [60, 50]), ([9, None], [9, None])):
            assert task.limits_of(Context({"timelimit": sent})) == shown
        assert app.tasks["celery.group"].limits_of(Context()) == [None, None]


def test_a_retryable_error_is_tried_for_half_an_hour_unless_the_task_says_otherwise():
    with build_app(WorkerConfig(), load(), [TaskSpec("demo.noop", noop)]) as app:
        plain = app.task(noop, name="plain.noop", shared=False)  # of no other app
        own = app.task(noop, name="plain.own", max_retries=4, shared=False)
        endless = app.task(noop, name="plain.endless", max_retries=None, shared=False)
        assert plain.max_retries == Celery("stock", set_as_current=False).Task.max_retries == 3
        assert [task.retry_limit for task in (app.tasks["demo.noop"], plain, own, endless)] == [
            12,
            12,
            4,
            None,
        ]
