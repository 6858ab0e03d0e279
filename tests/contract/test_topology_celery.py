"""Celery's own router and sender, given our queues and routes."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.signals import before_task_publish

from penstock.worker.messages.own_queue import own_queue
from topology.entities import Binding, Exchange, Queue
from topology.kombu_queues import celery_routes, work_queues
from topology.layout import load
from topology.model import Topology
from topology.route import Route


def make_app(topology: Topology) -> Celery:
    app = Celery("contract", broker="memory://", set_as_current=False)
    app.conf.update(
        task_queues=work_queues(topology),
        task_routes=(celery_routes(topology),),
        task_default_queue=next(iter(topology.queues)),
        task_create_missing_queues=False,
    )
    return app


@pytest.fixture
def published() -> Iterator[list[tuple[str, str]]]:
    """Exchange and routing key of each message that Celery is about to publish."""
    seen: list[tuple[str, str]] = []

    def note(exchange: str, routing_key: str, declare: Any, **_: Any) -> None:
        assert all(entity.no_declare for entity in declare or ())
        seen.append((exchange, routing_key))

    before_task_publish.connect(note, weak=False)
    yield seen
    before_task_publish.disconnect(note)


@pytest.mark.parametrize(
    ("task", "options", "destination"),
    [
        ("demo.add", {}, ("tasks", "default")),
        ("documents.store", {}, ("events", "documents.unnamed")),
        ("documents.store", {"routing_key": "documents.a"}, ("events", "documents.a")),
        ("scripts.run", {}, ("tasks", "scripts")),
        ("demo.add", {"queue": "high_priority"}, ("", "high_priority")),
        ("documents.store", {"queue": "mongo_queue"}, ("", "mongo_queue")),
        (
            "demo.add",
            {"exchange": "events", "routing_key": "documents.x"},
            ("events", "documents.x"),
        ),
        ("unrouted.task", {}, ("", "default")),
    ],
)
def test_celery_publishes_where_the_layout_says(published, task, options, destination):
    with make_app(load()) as app:
        app.send_task(task, **options)

    assert published == [destination]


def test_a_route_to_the_default_exchange_names_its_queue(published):
    topology = Topology(
        exchanges=[Exchange(name="t", type="topic")],
        queues=[Queue(name="first"), Queue(name="only")],
        bindings=[Binding(exchange="t", queue="only", key="#")],
        routes=[Route(task="t", exchange="", routing_key="only")],
    )
    with make_app(topology) as app:
        app.send_task("t")

    assert published == [("", "only")]


def test_a_worker_would_consume_every_queue_and_declare_none():
    with make_app(load()) as app:
        consumed = app.amqp.queues.consume_from

    assert list(consumed) == list(load().queues)
    for queue in (*consumed.values(), own_queue("celery@w1")):
        assert queue.no_declare
        assert queue.durable


def test_queue_arguments_are_the_layouts_own():
    queues = {queue.name: queue for queue in work_queues(load())}

    for name, queue in load().queues.items():
        assert vars(queues[name])["queue_arguments"] == queue.arguments
    assert own_queue("celery@w1").name == "broadcast.celery@w1"
