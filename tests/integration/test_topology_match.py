"""`Topology.match` against RabbitMQ itself, on generated layouts and messages."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu.connection import Connection

from penstock.wire.names import SHARDS_PREFIX
from tests.deployment.vhosts import VirtualHosts
from topology.entities import Binding, Exchange, Queue
from topology.model import Topology
from topology.plan import declarations

QUEUES = ("q0", "q1", "q2", "q3")
EXCHANGES = ("e0", "e1", "e2")
WORDS = ("a", "b", "c")
HEADER_NAMES = ("h", "i", "x-j")
VALUES = st.sampled_from(["1", "2", True, False])

KEYS = st.one_of(
    st.lists(st.sampled_from((*WORDS, "", "*", "#")), max_size=4).map(".".join),
    st.lists(st.sampled_from(WORDS), max_size=4).map(".".join),
)
PATTERNS = st.lists(st.sampled_from((*WORDS, "*", "#")), max_size=4).map(".".join)
ARGUMENTS = st.builds(
    lambda kind, headers: ({"x-match": kind} if kind else {}) | headers,
    st.sampled_from([None, "all", "any", "all-with-x", "any-with-x"]),
    st.dictionaries(st.sampled_from(HEADER_NAMES), VALUES, max_size=3),
)
MESSAGES = st.lists(
    st.tuples(
        st.sampled_from((*EXCHANGES, "")),
        st.one_of(KEYS, st.sampled_from(QUEUES)),
        st.dictionaries(st.sampled_from(HEADER_NAMES), st.one_of(VALUES, st.just(1)), max_size=3),
    ),
    min_size=4,
    max_size=12,
)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    exchanges = []
    for place, name in enumerate(EXCHANGES):
        alternate = draw(st.sampled_from((None, *EXCHANGES[place + 1 :])))
        kind: Any = draw(st.sampled_from(("topic", "topic", "direct", "fanout", "headers")))
        exchanges.append(Exchange(name=name, type=kind, alternate=alternate))
    bindings = []
    for exchange in exchanges:
        for queue in draw(st.lists(st.sampled_from(QUEUES), max_size=5)):
            key, arguments = "", {}
            if exchange.type == "topic":
                key = draw(PATTERNS)
            elif exchange.type == "direct":
                key = draw(st.lists(st.sampled_from(WORDS), max_size=2).map(".".join))
            elif exchange.type == "headers":
                arguments = draw(ARGUMENTS)
            binding = Binding(exchange=exchange.name, queue=queue, key=key, arguments=arguments)
            if not list(binding.faults(exchange.type)) and binding not in bindings:
                bindings.append(binding)
    queues = [Queue(name=name, shards=draw(st.sampled_from((None, None, 1, 3)))) for name in QUEUES]
    return Topology(exchanges=exchanges, queues=queues, bindings=bindings)


class Broker:
    """Puts a layout on RabbitMQ, publishes, looks where messages arrived, and takes it away."""

    def __init__(self, url: str) -> None:
        self.connection = Connection(url, transport_options={"confirm_publish": True})
        self.channel = self.connection.channel()
        self.queues: list[str] = []
        self.exchanges: list[str] = []
        self.returned: set[str] = set()
        self.channel.events["basic_return"].add(self._note)

    def _note(self, _error, _exchange, _key, message) -> None:
        self.returned.add(message.properties["message_id"])

    def declare(self, topology: Topology) -> None:
        """Declare its own part of a layout, of classic queues: those of quorum take a while."""
        plan = declarations(topology)
        self.queues = [name for queue in QUEUES for name in topology.shards(queue)]
        self.exchanges = [
            exchange.name
            for exchange in plan.exchanges
            if exchange.name in EXCHANGES or exchange.name.startswith(SHARDS_PREFIX)
        ]
        for exchange in plan.exchanges:
            if exchange.name in self.exchanges:
                self.channel.exchange_declare(
                    exchange.name,
                    exchange.type,
                    durable=True,
                    auto_delete=False,
                    arguments=dict(exchange.arguments),
                )
        for name in self.queues:
            self.channel.queue_declare(name, durable=True, auto_delete=False)
        for binding in plan.bindings:
            if binding.source in self.exchanges:
                to_queue = binding.destination_type == "queue"
                bind = self.channel.queue_bind if to_queue else self.channel.exchange_bind
                bind(
                    binding.destination,
                    binding.source,
                    binding.key,
                    arguments=dict(binding.arguments),
                )

    def publish(
        self, topology: Topology, number: int, exchange: str, key: str, headers: dict[str, Any]
    ) -> None:
        if not exchange:
            exchange, key = topology.entry(key)
        message = self.channel.prepare_message(
            b"", headers=headers, properties={"message_id": str(number)}
        )
        self.channel.basic_publish(message, exchange, key, mandatory=True)

    def arrived(self, topology: Topology) -> dict[int, set[str]]:
        found: dict[int, set[str]] = defaultdict(set)
        for shard in self.queues:
            name = topology.named(shard)
            while message := self.channel.basic_get(shard, no_ack=True):
                number = int(message.properties["message_id"])
                assert name not in found[number], "delivered twice to one queue"
                found[number].add(name)
        return found

    def clear(self) -> None:
        for name in self.exchanges:
            self.channel.exchange_delete(name)
        for name in self.queues:
            self.channel.queue_delete(name)
        self.returned.clear()

    def close(self) -> None:
        self.connection.release()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def broker(vhosts: VirtualHosts) -> AsyncIterator[Broker]:
    async with vhosts.empty() as url:
        with closing(Broker(url)) as broker:
            yield broker


@pytest.mark.timeout(180)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(topology=topologies(), messages=MESSAGES)
def test_match_says_what_rabbitmq_does(broker: Broker, topology: Topology, messages: list[Any]):
    broker.declare(topology)
    try:
        for number, (exchange, key, headers) in enumerate(messages):
            broker.publish(topology, number, exchange, key, headers)
        arrived, returned = broker.arrived(topology), set(broker.returned)
    finally:
        broker.clear()

    for number, message in enumerate(messages):
        matched = topology.match(*message)
        assert set(matched) == arrived.get(number, set()), message
        assert (str(number) in returned) == (not matched), message
