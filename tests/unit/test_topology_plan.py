"""What follows from a layout: dead letters, deliveries after a delay."""

from typing import Any

from penstock.wire.delay import ANY_DELAY
from topology.entities import Binding, Exchange, Queue
from topology.layout import load
from topology.model import Topology
from topology.plan import declarations


def keys(topology: Topology, source: str) -> set[tuple[str, str]]:
    plan = declarations(topology)
    return {(b.destination, b.key) for b in plan.bindings if b.source == source}


def test_dead_letters_reach_their_own_queue_and_the_outcomes():
    topology = Topology(queues=[Queue(name="a"), Queue(name="b", dead_letter=False)])

    assert keys(topology, "dead") == {("a.dead", "a"), ("dead.outcomes", "a")}
    assert "b.dead" not in {queue.name for queue in declarations(topology).queues}


def test_a_letter_survives_being_looked_at_on_rabbitmq_4():
    plan = declarations(load())
    kept = {q.name: q.arguments for q in plan.queues if q.name.endswith((".dead", ".outcomes"))}

    assert len(kept) == 10
    for arguments in kept.values():
        assert arguments == {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}


def test_each_binding_has_its_twin_on_the_delivery_exchange():
    topology = Topology(
        exchanges=[
            Exchange(name="d", type="direct"),
            Exchange(name="t", type="topic"),
            Exchange(name="f", type="fanout"),
            Exchange(name="h", type="headers"),
        ],
        queues=[Queue(name="q")],
        bindings=[
            Binding(exchange="d", queue="q", key="a.b"),
            Binding(exchange="d", queue="q"),
            Binding(exchange="t", queue="q", key="*.b.#"),
            Binding(exchange="f", queue="q"),
            Binding(exchange="h", queue="q", arguments={"a": "b"}),
        ],
    )

    assert keys(topology, "penstock_delivery") == {
        ("q", f"{ANY_DELAY}.d.a.b"),
        ("q", f"{ANY_DELAY}.d"),
        ("q", f"{ANY_DELAY}.t.*.b.#"),
        ("q", f"{ANY_DELAY}.f.#"),
        ("q", f"{ANY_DELAY}.q"),
    }


def test_what_a_delay_cannot_deliver_is_kept_and_told():
    plan = declarations(load())
    arguments = {exchange.name: exchange.arguments for exchange in plan.exchanges}

    assert arguments["penstock_delivery"] == {"alternate-exchange": "unrouted"}
    assert keys(load(), "unrouted") == {("unrouted.dead", ""), ("dead.outcomes", "")}


def test_nothing_is_declared_twice_and_every_binding_has_both_ends():
    plan = declarations(load())
    exchanges = {exchange.name for exchange in plan.exchanges}
    queues = {queue.name for queue in plan.queues}

    assert len(exchanges) == len(plan.exchanges) == 34
    assert len(queues) == len(plan.queues) == 46
    ends = {(b.source, b.destination_type, b.destination, b.key) for b in plan.bindings}
    assert len(ends) == len(plan.bindings)
    for binding in plan.bindings:
        assert binding.source in exchanges
        assert binding.destination in (queues if binding.destination_type == "queue" else exchanges)
        assert len(binding.key.encode()) <= 255


def test_a_queue_with_shards_is_bound_through_their_exchange_and_by_nothing_else():
    parts: dict[str, Any] = {
        "exchanges": [Exchange(name="t", type="topic")],
        "bindings": [Binding(exchange="t", queue="q", key="q.#")],
    }
    plain = declarations(Topology(queues=[Queue(name="q", limit=5)], **parts))
    plan = declarations(Topology(queues=[Queue(name="q", limit=5, shards=3)], **parts))

    direct = [one for one in plan.bindings if one.destination == "q"]
    assert [(one.source, one.key) for one in direct] == [("penstock_shards.q", "1")]
    assert {one.destination for one in plan.bindings if one.spreads} == {"q-shard-1", "q-shard-2"}
    assert set(map(repr, plan.replaced)) == {
        repr(one) for one in plain.bindings if one.destination == "q"
    }
    arguments = {one.name: one.arguments for one in plan.queues}
    assert arguments["q"] == arguments["q-shard-2"] == plain.queues[0].arguments
    assert arguments["q"]["x-dead-letter-routing-key"] == "q"
    assert not {name for name in arguments if name.endswith(".dead") and "shard" in name}
