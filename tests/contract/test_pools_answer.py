"""Celery's pools, and what becomes of a delivery whose execution raises."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery.concurrency.solo import TaskPool as SoloPool
from celery.concurrency.thread import TaskPool as ThreadPool

from penstock import Penstock

REQUEST: dict[str, Any] = {"id": "i", "task": "t", "delivery_info": {"redelivered": True}}
BODY = b"[[], {}, {}"


class Given:
    """What a request of Celery's is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answered = threading.Event()

    def on_accepted(self, *_: Any) -> None:
        self.calls.append(("accepted", None))
        raise LookupError("accepted")

    def on_success(self, answer: Any) -> None:
        self.calls.append(("success", answer))
        self.answered.set()
        raise LookupError("success")

    def on_failure(self, info: Any) -> None:
        self.calls.append(("failure", info))
        self.answered.set()


@pytest.fixture(params=[ThreadPool, SoloPool])
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    app = Penstock("app", broker="memory://", backend="redis://localhost:1/0")
    made = request.param(1, app=app)
    app.suspects.watch(made)
    made.start()
    yield made
    made.stop()


def execute(pool: Any, target: Any, request: dict[str, Any] = REQUEST) -> Given:
    given = Given()
    pool.apply_async(
        target,
        args=("t", "i", request, BODY, "application/json", "utf-8"),
        accept_callback=given.on_accepted,
        callback=given.on_success,
        error_callback=given.on_failure,
        correlation_id="i",
    )
    assert given.answered.wait(10)
    return given


def test_a_body_that_cannot_be_read_again_is_a_failure(pool: Any):
    given = execute(pool, lambda *_: (0, "never", 0.0))

    assert [name for name, _ in given.calls] == ["accepted", "failure"]
    assert isinstance(given.calls[1][1], ExceptionInfo)


def test_what_the_target_raises_is_logged_and_a_failure(
    pool: Any, caplog: pytest.LogCaptureFixture
):
    def target(*_: Any) -> None:
        raise ValueError("of the target")

    given = execute(pool, target, {**REQUEST, "delivery_info": {}})

    assert [name for name, _ in given.calls] == ["accepted", "failure"]
    assert isinstance(given.calls[1][1].exception.exc, ValueError)
    assert "of the target" in caplog.text


def test_what_a_callback_raises_is_logged(pool: Any, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR)
    given = execute(pool, lambda *_: (0, "done", 0.1), {**REQUEST, "delivery_info": {}})
    pool.stop()

    assert given.calls[1] == ("success", (0, "done", 0.1))
    assert "LookupError: success" in caplog.text
    assert "LookupError: accepted" in caplog.text
