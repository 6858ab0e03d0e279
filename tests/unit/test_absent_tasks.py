"""When it is certain that no worker has a task; each doubt accepts it."""

import dataclasses
import time
from dataclasses import dataclass, field

import pytest

from gateway.access.auth import ANONYMOUS, Caller
from gateway.errors import Problem
from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.queue_depths import Depth, QueueDepths
from gateway.submitting.absent_tasks import AbsentTasks
from gateway.submitting.catalog import Catalog
from penstock.wire.announcements import KNOWN_FOR_S, WORKER_MAX_AGE_S, WorkerRecord
from topology.layout import load
from topology.model import Topology

LAYOUT = load()
OURS = ("demo.add", "demo.echo", "demo.progress", "periodic.heartbeat", "celery.chord_unlock")
QUEUES = ("default", "periodic")


def worker(name: str = "a", age_s: float = 0, **changes: object) -> WorkerRecord:
    """Its `seen` is its age, until the scene is played."""
    record = WorkerRecord(worker=name, start="1", queues=QUEUES, tasks=OURS, seen=age_s)
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]  # fields by name


@dataclass(kw_only=True)
class Scene:
    """What workers announced, and what RabbitMQ counts."""

    workers: tuple[WorkerRecord, ...] = field(default_factory=lambda: (worker(),))
    counted: dict[str, int] = field(default_factory=lambda: {"default": 1, "periodic": 1})
    redis: bool = True
    topology: Topology = LAYOUT

    def absent(
        self,
        task: str = "demo.nope",
        queues: tuple[str, ...] = ("default",),
        caller: Caller = ANONYMOUS,
    ) -> Problem | None:
        catalog = Catalog()
        catalog.redis_answers = self.redis
        now = time.time()
        written = [dataclasses.replace(one, seen=now - one.seen) for one in self.workers]
        catalog.workers.take({one.field: one.encode() for one in written}, now)
        depths = QueueDepths(Connection("amqp://localhost/", "unused"), self.topology)
        depths.depths = {name: Depth(0, count, count) for name, count in self.counted.items()}
        tasks = AbsentTasks(self.topology, catalog, depths)
        try:
            tasks.decide(lambda: tasks.check(task, queues, caller))
        except Problem as absent:
            return absent
        return None


def route(**changes: object) -> Topology:
    routes = [dataclasses.replace(one, **changes) for one in LAYOUT.routes]  # type: ignore[arg-type]
    return Topology(
        exchanges=LAYOUT.exchanges.values(),
        queues=LAYOUT.queues.values(),
        bindings=LAYOUT.bindings,
        routes=routes,
    )


def test_a_task_that_no_consumer_has_is_refused_with_near_names():
    absent = Scene().absent("demo.ad")

    assert absent is not None
    assert (absent.code, absent.queued, absent.status) == ("unknown-task", "no", 404)
    assert absent.body()["near"][0] == "demo.add"
    assert "'default'" in absent.detail
    assert Scene().absent("demo.add") is None


@pytest.mark.parametrize(
    "scene",
    [
        Scene(redis=False),
        Scene(workers=()),
        Scene(counted={}),
        Scene(counted={"default": 0}),
        Scene(counted={"default": 2}),
        Scene(workers=(worker(), worker("b"))),
        Scene(workers=(worker(age_s=WORKER_MAX_AGE_S + 1),)),
        Scene(workers=(worker(consuming=False),)),
        Scene(workers=(worker(queues=("ranked",)),)),
        Scene(topology=route(announced=False)),
        Scene(workers=(worker(), worker("b", tasks=("demo.nope",))), counted={"default": 2}),
        Scene(workers=(worker(), worker("b", KNOWN_FOR_S - 9, tasks=("demo.nope",)))),
        Scene(workers=(worker(), worker("b", tasks=("demo.nope",), consuming=False))),
    ],
    ids=[
        "Redis is away",
        "no worker announces",
        "RabbitMQ is away",
        "no consumer",
        "a consumer that does not announce",
        "fewer consumers than announced",
        "the announcement is old",
        "the worker stops",
        "the workers consume other queues",
        "the route says so",
        "another worker of the queue has it",
        "a worker that is gone had it lately",
        "a worker that stops has it",
    ],
)
def test_a_doubt_accepts(scene: Scene):
    assert scene.absent() is None


def test_a_task_that_was_announced_long_ago_or_for_another_queue_is_refused():
    long_ago = worker("b", KNOWN_FOR_S + 9, tasks=("demo.nope",))
    elsewhere = worker("b", tasks=("demo.nope",), queues=("ranked",))

    assert Scene(workers=(worker(), long_ago)).absent()
    assert Scene(workers=(worker(), elsewhere)).absent()
    assert Scene(workers=(worker(), elsewhere)).absent(queues=("default", "ranked")) is None


def test_several_queues_refuse_only_together():
    assert Scene().absent(queues=("default", "periodic"))
    assert Scene().absent(queues=("default", "ranked")) is None


def test_a_task_that_the_layout_names_is_not_refused():
    assert (
        Scene(workers=(worker(queues=("scripts",)),), counted={"scripts": 1}).absent(
            "scripts.run", ("scripts",)
        )
        is None
    )


def test_a_broadcast_is_refused_when_workers_live_and_none_has_the_task():
    assert Scene().absent(queues=())
    assert Scene().absent("demo.add", ()) is None
    assert Scene(workers=()).absent(queues=()) is None


def test_near_names_are_those_that_the_caller_may_submit_and_no_more_than_three():
    allowed = Caller(
        name="a", tenant="a", scopes=frozenset({"submit"}), tasks=("demo.e*", "demo.nope")
    )
    many = tuple(f"demo.nop{number}" for number in range(9))

    def near(scene: Scene, caller: Caller = ANONYMOUS) -> list[str]:
        absent = scene.absent("demo.nope", caller=caller)
        assert absent is not None
        found: list[str] = absent.body().get("near", [])
        return found

    assert set(near(Scene())) <= {"demo.add", "demo.echo", "demo.progress"}
    assert set(near(Scene(), allowed)) <= {"demo.echo"}
    assert len(near(Scene(workers=(worker(tasks=many),)))) == 3
