"""Celery's rule that no task waits for others, and the worker that joins a chord's groups."""

from collections.abc import Iterator

import pytest
from celery import Celery
from celery._state import _set_task_join_will_block, task_join_will_block

from penstock.worker.results.joining import GroupResult, joining
from tasks.app import build_app
from tasks.config import WorkerConfig
from topology.layout import load


@pytest.fixture
def group() -> Iterator[GroupResult]:
    """A group that has ended, on a thread whose neighbour has just forbidden to wait."""
    before = task_join_will_block()
    with Celery("x", backend="cache+memory://", set_as_current=False) as app:
        app.backend.store_result("m", 3, "SUCCESS")
        _set_task_join_will_block(True)
        yield GroupResult("g", [app.AsyncResult("m")], app=app)
    _set_task_join_will_block(before)


def test_a_thread_that_joins_for_a_chord_may_wait_and_a_task_may_not(group: GroupResult):
    with joining():
        with joining():
            assert group.join_native() == [3]
        assert group.get() == [3]

    with pytest.raises(RuntimeError, match=r"Never call result\.get"):
        group.join_native()


def test_it_is_what_a_worker_restores_groups_as():
    with build_app(WorkerConfig(), load()) as app:
        assert isinstance(app.GroupResult("g", []), GroupResult)
