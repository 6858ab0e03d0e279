"""What a layout may say, and what it is told when it may not."""

import pytest

from topology.entities import Binding, Exchange, Queue
from topology.errors import TopologyError
from topology.model import Topology
from topology.route import Route


def faults_of(**parts) -> tuple[str, ...]:
    with pytest.raises(TopologyError) as raised:
        Topology(**parts)
    return raised.value.faults


TASKS = Exchange(name="tasks", type="direct")
EVENTS = Exchange(name="events", type="topic")
HEADERS = Exchange(name="by_header", type="headers")
QUEUE = Queue(name="q")


@pytest.mark.parametrize(
    ("queue", "fault"),
    [
        (Queue(name=""), "the name is empty"),
        (Queue(name="q" * 200), "leaves no room for a delay"),
        (Queue(name="ü" * 100), "leaves no room for a delay"),
        (Queue(name="a..b"), "empty word"),
        (Queue(name=".a"), "empty word"),
        (Queue(name="a."), "empty word"),
        (Queue(name="a.*"), "has *, #"),
        (Queue(name="a\nb"), "unprintable"),
        (Queue(name="amq.gen"), "reserved"),
        (Queue(name="mine.dead"), "reserved"),
        (Queue(name="penstock_delay_3"), "reserved"),
        (Queue(name="broadcast.w1"), "reserved"),
        (Queue(name="dead.outcomes"), "reserved"),
        (Queue(name="unrouted.dead"), "reserved"),
        (Queue(name="w1.celery.pidbox"), "reserved"),
        (Queue(name="tasks"), "first word is the name of an exchange"),
        (Queue(name="tasks.q"), "first word is the name of an exchange"),
        (Queue(name="q", type="stream"), "type 'stream'"),  # type: ignore[arg-type]
        (Queue(name="q", limit=0), "limit is 1 to"),
        (Queue(name="q", delivery_limit=0), "delivery_limit is at least 1"),
        (Queue(name="q", message_ttl_ms=-1), "message_ttl_ms"),
        (Queue(name="q", overflow="drop"), "overflow 'drop'"),  # type: ignore[arg-type]
        (Queue(name="q", max_priority=5), "quorum queues have no x-max-priority"),
        (Queue(name="q", type="classic", leader_locator="balanced"), 'need type = "quorum"'),
        (Queue(name="q", type="classic", initial_group_size=3), 'need type = "quorum"'),
        (Queue(name="q", initial_group_size=2), "initial_group_size is 1, 3, 5 or 7, not 2"),
        (Queue(name="q", leader_locator="random"), "leader_locator is one of balanced"),  # type: ignore[arg-type]
        (Queue(name="q", type="classic", max_priority=256), "max_priority is 1 to 255"),
        (Queue(name="q", type="classic", delivery_limit=3), "a classic queue delivers for ever"),
        (Queue(name="q", overflow="drop-head"), 'needs overflow = "reject-publish"'),
        (
            Queue(name="q", type="classic", dead_letter_strategy="at-least-once"),
            'needs type = "quorum"',
        ),
        (Queue(name="q", dead_letter_strategy="sometimes"), "dead_letter_strategy is one of"),  # type: ignore[arg-type]
        (Queue(name="q", shards=0), "shards is 1 to 64, not 0"),
        (Queue(name="q", shards=65), "shards is 1 to 64, not 65"),
        (Queue(name="q", type="classic", shards=2), 'shards needs type = "quorum"'),
        (Queue(name="q", shard_by="task_id"), "shard_by needs shards"),
        (Queue(name="q", shards=2, shard_by="header"), "none of routing_key, task_id"),  # type: ignore[arg-type]
        (Queue(name="callbacks", shards=2), "the queue that gateways consume"),
        (
            Queue(name="q", owner="app", type="classic", dead_letter=False, shards=2),
            "shards is for its app to declare",
        ),
        (
            Queue(name="q", dead_letter=False, dead_letter_strategy="at-most-once"),
            "without dead_letter",
        ),
    ],
)
def test_queue_with_a_fault_is_refused(queue, fault):
    faults = faults_of(exchanges=[TASKS], queues=[queue])

    assert any(fault in told for told in faults), faults


@pytest.mark.parametrize(
    ("exchange", "fault"),
    [
        (Exchange(name="", type="direct"), "the name is empty"),
        (Exchange(name="a.b", type="direct"), "no dots"),
        (Exchange(name="amq.direct", type="direct"), "reserved"),
        (Exchange(name="penstock_delay_1", type="topic"), "reserved"),
        (Exchange(name="celeryev", type="topic"), "reserved"),
        (Exchange(name="x" * 256, type="topic"), "longer than 255 bytes"),
        (Exchange(name="x", type="x-delayed-message"), "type 'x-delayed-message'"),  # type: ignore[arg-type]
        (Exchange(name="dead", type="topic"), "its type is direct"),
        (Exchange(name="dead", type="direct", publishable=True), "cannot be publishable"),
        (Exchange(name="broadcast", type="direct"), "its type is fanout"),
        (Exchange(name="broadcast", type="fanout", alternate="dead"), "not configurable"),
        (Exchange(name="x", type="direct", alternate="x"), "its own alternate"),
        (Exchange(name="x", type="direct", alternate="y"), "no exchange 'y'"),
    ],
)
def test_exchange_with_a_fault_is_refused(exchange, fault):
    faults = faults_of(exchanges=[exchange])

    assert any(fault in told for told in faults), faults


@pytest.mark.parametrize(
    ("binding", "fault"),
    [
        (Binding(exchange="nowhere", queue="q"), "no such exchange"),
        (Binding(exchange="tasks", queue="nobody", key="k"), "no such queue"),
        (Binding(exchange="dead", queue="q", key="q"), "are derived"),
        (Binding(exchange="penstock_delivery", queue="q", key="q"), "are derived"),
        (Binding(exchange="tasks", queue="q", key="a..b"), "empty word"),
        (Binding(exchange="tasks", queue="q", key="a.#"), "the exchange is direct"),
        (Binding(exchange="events", queue="q", key="a.b*"), "whole words"),
        (Binding(exchange="events", queue="q", key="k" * 193), "leaves no room"),
        (Binding(exchange="broadcast", queue="q", key="k"), "ignores the key"),
        (Binding(exchange="by_header", queue="q", key="k"), "ignores the key"),
        (Binding(exchange="events", queue="q", arguments={"a": "b"}), "only a headers exchange"),
        (Binding(exchange="by_header", queue="q", arguments={"x-match": "some"}), "x-match 'some'"),
        (Binding(exchange="by_header", queue="q", arguments={"x-match": "any"}), "never matches"),
        (Binding(exchange="by_header", queue="q", arguments={"x-a": "1"}), "say all-with-x"),
        (Binding(exchange="by_header", queue="q", arguments={"a": 1}), "string or a boolean"),  # type: ignore[dict-item]
    ],
)
def test_binding_with_a_fault_is_refused(binding, fault):
    faults = faults_of(exchanges=[TASKS, EVENTS, HEADERS], queues=[QUEUE], bindings=[binding])

    assert any(fault in told for told in faults), faults


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        (Route(task="", exchange="tasks", routing_key="k"), "needs a task name"),
        (Route(task="a", exchange="nowhere", routing_key="k"), "no exchange 'nowhere'"),
        (Route(task="a", exchange="", routing_key="nobody"), "no queue 'nobody'"),
        (Route(task="a", exchange="dead", routing_key="q"), "nobody publishes"),
        (Route(task="a", exchange="tasks", routing_key="a..b"), "empty word"),
        (Route(task="a", exchange="tasks", routing_key="typo"), "reaches no queue"),
        (Route(task="a", exchange="tasks", routing_key="k", priority=10), "0 to 9 are possible"),
        (Route(task="a", exchange="tasks", routing_key="k", expires=0), "expires is 0 s"),
    ],
)
def test_route_with_a_fault_is_refused(route, fault):
    faults = faults_of(exchanges=[TASKS], queues=[QUEUE], routes=[route])

    assert any(fault in told for told in faults), faults


def test_the_longest_key_that_a_delay_leaves_room_for_is_accepted():
    key = "k" * 192  # 56 bytes of delay, "events" and its dot: 255

    Topology(
        exchanges=[EVENTS],
        queues=[QUEUE],
        bindings=[Binding(exchange="events", queue="q", key=key)],
    )


def test_all_faults_are_told_at_once():
    faults = faults_of(
        exchanges=[Exchange(name="a.b", type="direct")],
        queues=[Queue(name="q", max_priority=3), Queue(name="r", limit=0)],
        bindings=[Binding(exchange="nowhere", queue="nobody")],
        routes=[Route(task="t", exchange="gone", routing_key="")],
    )

    assert len(faults) == 6


def test_names_and_bindings_that_are_there_twice_are_refused():
    binding = Binding(exchange="tasks", queue="q", key="k")
    route = Route(task="t", exchange="tasks", routing_key="k")

    faults = faults_of(
        exchanges=[TASKS, TASKS],
        queues=[QUEUE, QUEUE],
        bindings=[binding, binding],
        routes=[route, route],
    )

    assert len(faults) == 4
    assert all("2 times" in fault for fault in faults)


def test_alternate_exchanges_in_a_circle_are_refused_once():
    faults = faults_of(
        exchanges=[
            Exchange(name="a", type="direct", alternate="b"),
            Exchange(name="b", type="direct", alternate="c"),
            Exchange(name="c", type="direct", alternate="b"),
        ]
    )

    assert faults == ("exchanges b → c → b: alternate exchanges in a circle",)


def test_system_exchanges_are_there_without_being_named():
    topology = Topology(exchanges=[TASKS])

    assert list(topology.exchanges) == [
        "tasks", "broadcast", "dead", "unrouted", "penstock_delivery",
    ]  # fmt: skip
    assert not any(exchange.publishable for exchange in topology.exchanges.values())


def test_route_prefers_the_exact_name_and_then_the_first_pattern():
    topology = Topology(
        exchanges=[TASKS],
        queues=[QUEUE],
        bindings=[Binding(exchange="tasks", queue="q", key=key) for key in "123"],
        routes=[
            Route(task="a.*", exchange="tasks", routing_key="1"),
            Route(task="a.b.*", exchange="tasks", routing_key="2", privileged=True),
            Route(task="a.b.c", exchange="tasks", routing_key="3"),
        ],
    )

    keys = {name: topology.route(name) for name in ("a.b.c", "a.b.d", "A.b", "a", "xa.b")}
    found = {name: route.routing_key if route else None for name, route in keys.items()}
    assert found == {"a.b.c": "3", "a.b.d": "1", "A.b": None, "a": None, "xa.b": None}


def test_delayable_says_no_where_a_delayed_message_would_get_lost():
    topology = Topology(
        exchanges=[Exchange(name="x", type="direct", alternate="y"), HEADERS, EVENTS,
                   Exchange(name="y", type="fanout")],
        queues=[QUEUE],
        bindings=[Binding(exchange="x", queue="q", key="k"), Binding(exchange="y", queue="q")],
    )  # fmt: skip

    assert topology.delayable("events")
    assert topology.delayable("")
    assert topology.delayable("x")
    assert topology.delayable("x", "k")
    assert not topology.delayable("x", "only-by-alternate")
    assert not topology.delayable("by_header")
    assert not topology.delayable("dead")
    assert not topology.delayable("nowhere")


def test_derived_names():
    topology = Topology()

    assert topology.dead_queue("q") == "q.dead"
    assert repr(topology) == "<Topology 4 exchanges, 0 queues, 0 bindings, 0 routes>"


def test_a_queue_that_has_the_name_of_a_shard_is_refused():
    with pytest.raises(TopologyError, match="queue 'q-shard-1': it is a shard of 'q'"):
        Topology(queues=[Queue(name="q", shards=2), Queue(name="q-shard-1")])


@pytest.mark.parametrize(
    ("keys", "by"),
    [(["q"], "task_id"), ([], "task_id"), (["q", "r"], "routing_key"), (["q.#"], "routing_key")],
)
def test_one_key_alone_does_not_decide_on_the_shard(keys, by):
    topology = Topology(
        exchanges=[Exchange(name="e", type="topic")],
        queues=[Queue(name="q", shards=2)],
        bindings=[Binding(exchange="e", queue="q", key=key) for key in keys],
    )
    assert topology.shard_by("q") == by


def test_clients_know_a_queue_with_shards_by_one_name():
    topology = Topology(queues=[Queue(name="q", shards=3), Queue(name="r")])

    assert topology.shards("q") == ("q", "q-shard-1", "q-shard-2")
    assert (topology.shards("r"), topology.shards("q.dead")) == (("r",), ("q.dead",))
    assert [topology.named(name) for name in ("q-shard-2", "q", "r", "x")] == ["q", "q", "r", "x"]
    assert topology.match("", "q") == ("q",)
    assert topology.match("", "q-shard-1") == ()
    assert topology.entry("q", "a.b") == ("penstock_shards.q", "a.b")
    assert topology.entry("r", "a.b") == ("", "r")
