"""The bench of Redis sends what a worker sends."""

from bench.apps.task_states import record
from penstock.wire.kept_results import usage_key
from penstock.wire.scripts import script
from tasks.app import build_app
from tasks.config import WorkerConfig
from topology.layout import load


def test_a_measured_task_is_a_start_and_a_charged_end():
    with build_app(WorkerConfig(), load()) as app:
        start, end, *others = record(app.backend, 3).commands

    assert len(others) == 4
    assert script("task_start").sha.encode() in start
    assert script("task_record").sha.encode() in end
    assert b'"status":"STARTED"' in start
    assert b'"status":"SUCCESS"' in end
    assert usage_key("bench").encode() in end
    assert start.split(b"celery-task-meta-")[1][:57] == end.split(b"celery-task-meta-")[1][:57]
