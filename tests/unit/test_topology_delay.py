"""The routing key of a delay, and the chain of levels it describes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.delay import (
    ANY_DELAY,
    LEVELS,
    MAX_BROKER_DELAY_S,
    delay_route,
    delayed_destination,
    is_delay_exchange,
    level_name,
)
from topology.delay_levels import levels
from topology.matching import key_words, topic_matches

WORD = st.text("abc_-", min_size=1, max_size=5)
KEY = st.lists(WORD, min_size=1, max_size=4).map(".".join)


def test_a_delay_key_is_bits_exchange_and_key():
    exchange, key = delay_route(5, "events", "documents.cities")

    assert exchange == "penstock_delay_2"
    assert key == "0." * 25 + "1.0.1.events.documents.cities"


def test_a_delay_key_for_the_default_exchange_is_bits_and_queue():
    assert delay_route(1, "", "default") == ("penstock_delay_0", "0." * 27 + "1.default")


@pytest.mark.parametrize(
    ("exchange", "delayed"),
    [
        ("penstock_delivery", True),
        ("penstock_delay_0", True),
        ("tasks", False),
        ("", False),
        (None, False),
    ],
)
def test_the_exchange_of_a_delivery_tells_whether_it_was_delayed(exchange, delayed):
    assert is_delay_exchange(exchange) is delayed


def test_an_empty_routing_key_adds_no_word():
    assert delay_route(1, "broadcast", "")[1] == "0." * 27 + "1.broadcast"


@pytest.mark.parametrize("delay_s", [0, -1, MAX_BROKER_DELAY_S + 1])
def test_a_delay_out_of_range_is_refused(delay_s):
    with pytest.raises(ValueError, match="a delay is 1 to 268435455 seconds"):
        delay_route(delay_s, "tasks", "default")


def test_a_key_without_room_for_the_delay_is_refused():
    assert len(delay_route(1, "tasks", "k" * 193)[1]) == 255
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        delay_route(1, "tasks", "k" * 194)
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        delay_route(1, "tasks", "ü" * 97)


def test_a_delay_to_nowhere_is_refused():
    with pytest.raises(ValueError, match="needs a queue name or an exchange"):
        delay_route(1, "", "")


@given(st.integers(1, MAX_BROKER_DELAY_S), st.sampled_from(["tasks", ""]), KEY)
def test_the_destination_reads_back(delay_s, exchange, key):
    _, delayed = delay_route(delay_s, exchange, key)

    assert delayed_destination(delayed, {"tasks", "events"}) == (exchange, key)


@pytest.mark.parametrize(
    "key",
    ["default", "", "0." * 28, "0." * 27 + "default", "2." * 28 + "q", "0-" * 28 + "q", "ü" * 60],
)
def test_a_key_without_a_delay_has_no_delayed_destination(key):
    assert delayed_destination(key, {"tasks"}) is None


@given(st.integers(1, MAX_BROKER_DELAY_S), KEY)
def test_a_message_waits_exactly_its_delay_and_is_delivered(delay_s, key):
    """Walk the declared bindings as the broker would, adding up the time to live."""
    plan = levels()
    ttl_ms = {queue.name: queue.arguments["x-message-ttl"] for queue in plan.queues}
    after = {queue.name: queue.arguments["x-dead-letter-exchange"] for queue in plan.queues}
    at, delayed = delay_route(delay_s, "tasks", key)
    waited_ms = 0

    while at != "penstock_delivery":
        (hop,) = [
            binding
            for binding in plan.bindings
            if binding.source == at and topic_matches(key_words(binding.key), key_words(delayed))
        ]
        if hop.destination_type == "queue":
            waited_ms += ttl_ms[hop.destination]
            at = after[hop.destination]
        else:
            at = hop.destination

    assert waited_ms == delay_s * 1000


def test_every_level_hands_over_at_least_once_and_refuses_rather_than_drops():
    queues = levels().queues

    assert [queue.name for queue in queues] == [level_name(n) for n in reversed(range(LEVELS))]
    for queue in queues:
        assert queue.arguments["x-queue-type"] == "quorum"
        assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"
        assert queue.arguments["x-overflow"] == "reject-publish"


def test_delivery_patterns_match_one_destination_only():
    """`#.q` would also match every key that merely ends in q."""
    _, delayed = delay_route(3, "tasks", "other.q")

    assert not topic_matches(key_words(f"{ANY_DELAY}.q"), key_words(delayed))
    assert not topic_matches(key_words(f"{ANY_DELAY}.tasks.q"), key_words(delayed))
    assert topic_matches(key_words(f"{ANY_DELAY}.tasks.other.q"), key_words(delayed))
