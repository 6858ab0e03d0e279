"""What a worker's main process hands to its pool: Celery's request, and ours in its place."""

import json
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from celery.app.task import Context
from celery.exceptions import InvalidTaskError
from celery.worker.request import create_request_cls
from kombu.message import Message

from devstack.reserved_headers import CLASSES
from penstock.wire.headers import is_reserved
from penstock.worker.app import Penstock
from penstock.worker.consuming.request import Request
from penstock.worker.messages.envelope import PROTOCOL
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.support.hostile import EDGES, JSON_VALUES, VALUES
from topology.layout import load

FOLLOW = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
BODY = [["marked", [{"_id": "1"}]], {"x": 1}, FOLLOW]


class Pool:
    """Keeps what it is asked to run."""

    signal_safe = False

    def __init__(self) -> None:
        self.applied: list[tuple[Any, ...]] = []

    def apply_async(self, target: Any, args: tuple[Any, ...], **_: Any) -> None:
        self.applied.append(args)


def delivered(
    app: Penstock, task: str, body: object, pool: Pool, headers: Mapping[str, Any]
) -> Request:
    """Make the request of a delivery, as Celery's strategy does."""
    message = Message(
        body=json.dumps(body),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": "1", "task": task, "retries": 0, **headers},
        properties={"priority": 3, "application_headers": headers},
        delivery_info={},
        accept={"application/json"},
    )
    made = create_request_cls(Request, app.tasks[task], pool, "worker@host", None, app=app)
    request: Request = made(message, task=app.tasks[task], app=app, body=message.body)
    return request


def handed(task: str, body: object) -> tuple[Any, ...]:
    """Deliver a task message and return the arguments of the function that the pool is to call."""
    pool = Pool()
    with build_app(WorkerConfig(), load()) as app:
        delivered(app, task, body, pool, {}).execute_using_pool(pool)
    return pool.applied[0]


def test_the_pool_gets_the_decoded_body_once():
    args = handed("documents.store", BODY)

    _, _, request, body, content_type, _ = args
    assert body == BODY
    assert content_type is None, "Celery would decode it once more"
    assert request["args"] is body[0]
    assert pickle.dumps(args).count(b"marked") == 1


@pytest.fixture(scope="module")
def app():
    with build_app(WorkerConfig(), load()) as made:
        yield made


def context(
    app: Penstock, embed: Any = None, headers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    request = delivered(app, "demo.add", [[1, 2], {}, embed or {}], Pool(), headers or {})
    return dict(vars(request._context))


NAMES = sorted({name for owner in CLASSES for name in dir(owner)} | set(vars(Context())))


@pytest.mark.parametrize("name", NAMES)
def test_a_header_is_an_attribute_only_if_the_protocol_has_it(app: Penstock, name: str):
    usual = context(app)
    for value in VALUES + EDGES:
        try:
            made = context(app, headers={name: value})
        except InvalidTaskError:
            assert name in PROTOCOL
            continue
        if name not in PROTOCOL:
            assert made.pop("headers") == ({} if name == "compression" else {name: value})
            assert made == {key: usual[key] for key in usual if key != "headers"}
        assert context(app, {name: None})["headers"] == {}, "nor an option of the body"


def test_every_name_that_becomes_an_attribute_is_refused_to_clients(app: Penstock):
    assert all(is_reserved(name) for name in {*context(app), *NAMES})


@pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain", "chord"])
def test_what_follows_a_task_must_be_signatures(app: Penstock, name: str):
    good: dict[str, Any] = {
        "task": "demo.add",
        "args": [],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
    }
    assert context(app, {name: good if name == "chord" else [good]})[name]
    for value in (*JSON_VALUES[1:], *EDGES):
        for wrong in (value, [value], [{**good, "options": {"link": value}}]):
            if wrong in ([], [{**good, "options": {"link": []}}]) and name != "chord":
                continue
            with pytest.raises(InvalidTaskError):
                context(app, {name: wrong})


@pytest.mark.parametrize(
    ("task", "headers", "told"),
    [
        ("demo.add", {}, ("['marked', [{'_id': '1'}]]", "{'x': 1}")),
        ("demo.add", {"argsrepr": "(1,)", "kwargsrepr": "{}"}, ("(1,)", "{}")),
        ("documents.store", {}, ("…", "…")),
        ("documents.store", {"argsrepr": "secret", "kwargsrepr": "secret"}, ("…", "…")),
    ],
)
def test_flower_shows_arguments_unless_the_layout_hides_them(task, headers, told):
    pool = Pool()
    with build_app(WorkerConfig(), load()) as app:
        request = delivered(app, task, BODY, pool, headers)
        request.execute_using_pool(pool)
        info = request.info(safe=True)

    context = pool.applied[0][2]
    assert (info["args"], info["kwargs"]) == told  # as `celery inspect` and events have them
    assert (context["argsrepr"], context["kwargsrepr"]) == told  # as logs of failures have them
