"""`penstock.install`: what becomes of an application, without servers."""

import json
import math
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured
from kombu.serialization import dumps, register, register_json

import penstock
from gateway.states.records import decode
from penstock.wire.json_meaning import DATA
from penstock.worker.errors import ResultTooLarge
from penstock.worker.installing import AppBackend, Installed
from penstock.worker.messages import json_values
from penstock.worker.running.task import PenstockTask

REDIS = "redis://localhost:1/0"
PUBLISHED = datetime(2026, 1, 31, tzinfo=UTC)


class Own(Celery):  # type: ignore[misc]  # Celery has no types
    """A class of the application's own."""

    def mark(self) -> str:
        return "own"


def add(x: int, y: int = 0) -> int:
    """Add."""
    return x + y


@pytest.mark.parametrize("finalised", [False, True])
def test_tasks_made_before_and_after_are_ours(finalised: bool):
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    before = app.task(name="before")(add)
    if finalised:
        app.finalize()
        assert not isinstance(app.tasks["before"], PenstockTask)

    assert penstock.install(app) is app

    after = app.task(name="after")(add)
    for task in (before, after):
        assert isinstance(task, PenstockTask)
        assert task(1, 2) == 3
        assert app.tasks[task.name].authored.run(1) == 1
    assert isinstance(app.backend, AppBackend)


@pytest.mark.parametrize("early", [False, True])
def test_a_base_class_that_was_assigned_stays(early: bool):
    """As Flask's `make_celery` did for years."""
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)

    class ContextTask(app.Task):  # type: ignore[misc]  # Celery has no types
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "in context", self.run(*args, **kwargs)

    app.Task = ContextTask
    tasks = [
        app.task(name="before", shared=False)(add),
        app.task(name="based", base=ContextTask, shared=False)(add),
    ]
    if early:
        app.finalize()
    penstock.install(app)
    tasks.append(app.task(name="after", shared=False)(add))
    app.finalize()

    for task in tasks:
        assert isinstance(task, ContextTask)
        assert isinstance(task, PenstockTask)
        assert task(1, 2) == ("in context", 3)


def test_a_task_that_retries_by_itself_is_wrapped_once_and_retries():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    runs = []

    def flaky() -> int:
        runs.append(1)
        raise ValueError

    retried = {"autoretry_for": (ValueError,), "default_retry_delay": 0, "max_retries": 2}
    task = app.task(name="flaky", **retried)(flaky)
    app.finalize()
    penstock.install(app)

    answer = task.apply()
    assert isinstance(answer.result, ValueError)
    assert len(runs) == 3


def test_settings_of_the_application_win_wherever_they_stand():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    app.config_from_object(SimpleNamespace(redis_socket_timeout=77, task_acks_late=True))
    penstock.install(app)

    assert app.conf.redis_socket_timeout == 77
    assert app.conf.task_acks_late
    assert app.conf.worker_prefetch_multiplier == 4  # Celery's own default stays
    assert app.conf.worker_consumer.startswith("penstock.")


def test_settings_that_were_read_before_are_completed():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    app.conf.redis_socket_timeout = 77
    assert app.conf.worker_prefetch_multiplier == 4
    penstock.install(app)

    assert (app.conf.redis_socket_timeout, app.conf.penstock_slot_grace_s) == (77, 30)


def test_penstock_leaves_settings_of_a_module_to_the_application_too():
    app: Any = penstock.Penstock("app", broker="memory://", backend=REDIS, set_as_current=False)
    app.config_from_object(SimpleNamespace(task_acks_late=False, broker_heartbeat=3))

    assert (app.conf.task_acks_late, app.conf.broker_heartbeat) == (False, 3)
    assert app.conf.worker_prefetch_multiplier == 1


def test_receivers_of_on_after_configure_are_called_once():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    called = []
    app.on_after_configure.connect(lambda **_: called.append(1), weak=False)
    penstock.install(app)

    assert app.conf.task_serializer == "json"
    app.finalize()
    assert called == [1]


def test_a_class_of_the_application_stays_its_class():
    app: Any = Own("app", broker="memory://", backend=REDIS, set_as_current=False)
    penstock.install(app)

    assert isinstance(app, Own)
    assert app.mark() == "own"


def test_installing_twice_and_in_an_app_of_ours_changes_nothing():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    penstock.install(penstock.install(app))
    assert type(app) is Installed
    ours = penstock.Penstock("app", broker="memory://", backend=REDIS, set_as_current=False)

    assert type(penstock.install(ours)) is penstock.Penstock


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"result_serializer": "pickle"}, "result_serializer is 'pickle'"),
        ({"result_backend": "rpc://"}, "kept in Redis"),
    ],
)
def test_what_cannot_hold_states_is_named(changes: dict[str, str], words: str):
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    app.conf.update(changes)
    penstock.install(app)

    with pytest.raises(ImproperlyConfigured, match=words):
        _ = app.backend


def test_keys_have_the_prefix_of_the_application():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    app.conf.result_backend_transport_options = {"global_keyprefix": "acme"}
    penstock.install(app)

    assert app.backend.keys_of("1").record == "acme_celery-task-meta-1"
    assert app.backend.get_key_for_task("1") == b"acme_celery-task-meta-1"


ODD = [math.nan, math.inf, -math.inf, "\ud800", {"__type__": "x", "__value__": 1}, PUBLISHED]
"""What stock Celery stores, and not every reader of JSON takes."""


def test_results_are_stored_that_celery_stores():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    penstock.install(app)
    app.backend.check_result(ODD)

    call = app.backend.record_call("1", ODD, "SUCCESS", None, None)
    stored = ("{" + str(call.args[0])).encode()
    read = app.backend.decode(stored)["result"]
    assert read[1:] == ODD[1:]
    assert math.isnan(read[0])

    record = decode(stored)
    assert record is not None
    assert record.status == "SUCCESS"
    assert json.loads(bytes(record.result)) == [
        None, None, None, "\ufffd", {"__type__": "x", "__value__": 1},
        {"__type__": "datetime", "__value__": "2026-01-31T00:00:00+00:00"},
    ]  # fmt: skip


def test_results_of_any_length_are_stored_unless_the_application_sets_a_limit():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    penstock.install(app)
    app.backend.check_result("x" * (9 << 20))

    bounded: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    bounded.conf.penstock_max_result_bytes = 1000
    penstock.install(bounded)
    with pytest.raises(ResultTooLarge):
        bounded.backend.check_result("x" * 1000)


def test_what_result_extended_adds_is_stored():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    app.conf.result_extended = True
    penstock.install(app)
    request = SimpleNamespace(
        task="add", args=[1], kwargs={"y": 2}, delivery_info={"routing_key": "q"}, id="1",
        hostname="w", retries=0, children=[], group=None, parent_id=None, started_at=None,
    )  # fmt: skip

    meta = app.backend._meta("1", 3, "SUCCESS", None, request)
    wanted = {"name": "add", "args": [1], "kwargs": {"y": 2}, "worker": "w", "queue": "q"}
    assert {name: meta[name] for name in wanted} == wanted


@pytest.mark.parametrize("args", [[{1, 2}], [object()], ["x" * 400], [[math.nan]]])
def test_arguments_that_a_record_cannot_hold_are_kept_as_text(args: list[Any]):
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    app.conf.result_extended = True
    app.conf.penstock_max_result_bytes = 1000
    penstock.install(app)
    request = SimpleNamespace(task="add", args=args, kwargs={}, id="1", children=[])

    meta = app.backend._meta("1", 3, "SUCCESS", None, request)
    app.backend._check_length(len(app.backend._body(meta)))
    assert meta["args"] == args if args == [[math.nan]] else isinstance(meta["args"], str)
    assert meta["kwargs"] == {}


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


@pytest.fixture
def points() -> Iterator[None]:
    """What an application does that has JSON for types of its own."""
    register(
        "json",
        lambda value: json.dumps(value, default=lambda point: {"point": point.x}),
        lambda text: json.loads(
            text,
            object_hook=lambda found: Point(found["point"]) if set(found) == {"point"} else found,
        ),
        "application/json",
        "utf-8",
    )
    yield
    register_json()


@pytest.mark.usefixtures("points")
def test_json_that_an_application_has_registered_is_used():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    penstock.install(app)
    _, _, body = dumps([[Point(1)], {}, {}], serializer="json")

    assert json_values.decode(body)[0][0].x == 1
    assert json_values.decode(body, DATA)[0][0] == {"point": 1}, "of a gateway's client"
    stored = "{" + app.backend._body(app.backend._meta("1", [Point(2)], "SUCCESS", None, None))
    assert json.loads(stored)["result"] == [{"point": 2}]
    assert app.backend.decode_result(stored)["result"][0].x == 2


def test_progress_outside_of_a_task_is_nothing():
    penstock.progress(1, 2)
    penstock.log("line")


async def test_progress_outside_of_a_task_can_be_awaited():
    await penstock.progress(1, 2)
    await penstock.log("line")


def test_the_application_can_still_be_pickled():
    app: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    penstock.install(app)

    copy = pickle.loads(pickle.dumps(app))
    assert isinstance(copy, Celery)
    assert copy.conf.broker_url == "memory://"
