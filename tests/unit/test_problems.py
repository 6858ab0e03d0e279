"""What is found to be wrong, from when on it is a problem, and how many workers a queue wants."""

from typing import Any

import pytest

from gateway.operating.fleet import Worker
from gateway.operating.problems import (
    AFTER_S,
    BY_RABBITMQ,
    Finding,
    ProblemWatch,
    QueueFacts,
    RunningFacts,
    of_queues,
    of_servers,
    of_tasks,
    of_workers,
)
from gateway.operating.scaling import Load, wanted


def queue(**fields: Any) -> QueueFacts:
    known: dict[str, Any] = {
        "name": "q", "ready": 5, "consumers": 1, "paused": False, "idle_s": 0.0,
    }  # fmt: skip
    return QueueFacts(**{**known, **fields})


def test_callbacks_want_a_gateway_and_no_worker():
    [found] = of_queues([queue(name="callbacks", consumers=0)])

    assert "CALLBACK_HOSTS" in found.advice
    assert "consume" not in found.advice


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({}, []),
        ({"consumers": 0}, ["queue-without-worker"]),
        ({"consumers": 0, "paused": True}, []),
        ({"consumers": 0, "ready": 0}, []),
        ({"idle_s": 59.0}, []),
        ({"idle_s": 60.0}, ["queue-stalled"]),
        ({"idle_s": 60.0, "paused": True}, []),
        ({"idle_s": None}, []),
        ({"dead": 3, "dead_before": 3}, []),
        ({"dead": 4, "dead_before": 3, "ready": 0}, ["dead-letters-growing"]),
        ({"dead": 2, "dead_before": 3}, []),
    ],
)
def test_what_is_wrong_with_a_queue(fields: dict[str, Any], codes: list[str]):
    assert [(one.code, one.subject) for one in of_queues([queue(**fields)])] == [
        (code, "q") for code in codes
    ]


def test_what_is_wrong_with_workers_tasks_and_servers():
    silent = Worker(name="w", status="silent", last_heard_at=0, announces=True)
    gone = Worker(name="g", status="gone", last_heard_at=0, announces=True)
    assert [one.subject for one in of_workers([silent, gone], 20)] == ["w"]

    def runs(**fields: Any) -> list[str]:
        known: dict[str, Any] = {
            "task_id": "t", "task": "demo", "worker": "w", "for_s": 20.0, "limit_s": 10.0,
            "silent": False,
        }  # fmt: skip
        return [one.code for one in of_tasks([RunningFacts(**{**known, **fields})])]

    assert runs() == []
    assert runs(for_s=20.1) == ["task-stuck"]
    assert runs(for_s=10.9, limit_s=1.0) == []
    assert runs(for_s=1e6, limit_s=None) == []
    assert runs(for_s=1, silent=True) == ["task-stuck"]

    def servers(used: int, bound: int, *, leads: bool = True, schedules: bool = True) -> list[str]:
        memory = {"used_memory": used, "maxmemory": bound}
        return [
            one.code for one in of_servers(memory=memory, beat_leads=leads, schedules=schedules)
        ]

    assert servers(79, 100) == []
    assert servers(80, 100) == ["redis-memory"]
    assert servers(80, 0) == []
    assert servers(0, 0, leads=False) == ["beat-silent"]
    assert servers(0, 0, leads=False, schedules=False) == []


def test_a_finding_is_a_problem_once_it_lasts_and_until_it_is_mended():
    watch = ProblemWatch()
    finding = Finding(code="queue-without-worker", subject="q", detail="", advice="")
    after_s = AFTER_S[finding.code]

    watch.take([finding], 100)
    watch.take([finding], 100 + after_s - 1)
    assert watch.problems == []
    watch.take([finding], 100 + after_s)
    [known] = watch.problems
    assert (known.finding, known.since) == (finding, 100)
    watch.take([], 120)
    assert watch.problems == []
    watch.take([finding], 201)
    assert watch.problems == []


def test_a_finding_does_not_become_a_problem_while_nothing_is_looked_at():
    watch = ProblemWatch()
    finding = Finding(code="queue-without-worker", subject="q", detail="", advice="")

    watch.take([finding], 100)  # then Redis is away for half a minute
    assert watch.problems == []
    watch.take([], 130)
    assert watch.problems == []
    watch.take([finding], 135)
    watch.take([finding], 165)
    assert [one.since for one in watch.problems] == [135]


def test_what_was_not_looked_for_stands_as_it_was_found():
    watch = ProblemWatch()
    queue = Finding(code="queue-without-worker", subject="q", detail="", advice="")
    beat = Finding(code="beat-silent", subject="beat", detail="", advice="")

    watch.take([queue, beat], 100)
    watch.take([queue, beat], 120)
    watch.take([beat], 140, BY_RABBITMQ)  # of what is found only those codes count
    assert [(one.finding, one.seen) for one in watch.problems] == [(beat, 120)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 0),
        ({"backlog": 10, "workers": 0, "slots": 0}, 1),
        ({"backlog": 10, "started_per_s": None}, 2),
        ({"backlog": 600, "busy": 8, "started_per_s": 2.0}, 10),
        ({"backlog": 600, "busy": 4, "started_per_s": 2.0}, 5),
        ({"running": 5, "busy": 5}, 2),
        ({"backlog": 600, "busy": 8, "started_per_s": 2.0, "paused": True}, 0),
    ],
)
def test_how_many_workers_a_queue_wants(fields: dict[str, Any], expected: int):
    known: dict[str, Any] = {
        "backlog": 0, "running": 0, "workers": 2, "slots": 8, "busy": 0, "started_per_s": 0.0,
        "paused": False,
    }  # fmt: skip
    assert wanted(Load(**{**known, **fields}), 60) == expected
