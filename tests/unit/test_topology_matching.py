"""Which queues a message reaches, against tables from RabbitMQ's documentation and source."""

import pytest

from topology.entities import Binding, Exchange, Queue
from topology.matching import headers_match, key_words, topic_matches
from topology.model import CACHE_SIZE, Topology


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("sensor.eu.temp", "sensor.eu.temp", True),
        ("sensor.eu.temp", "sensor.eu", False),
        ("sensor.*.temp", "sensor.eu.temp", True),
        ("sensor.*.temp", "sensor.temp", False),
        ("sensor.*.temp", "sensor.eu.west.temp", False),
        ("sensor.#", "sensor", True),
        ("sensor.#", "sensor.eu.temp", True),
        ("sensor.#", "sensors.eu", False),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("*", "", False),
        ("*", "a", True),
        ("", "", True),
        ("", "a", False),
        ("#.b", "b", True),
        ("#.b", "a.b", True),
        ("#.b", "a.b.c", False),
        ("#.b", "a.b.c.b", True),
        ("a.#.b.#.c", "a.x.b.y.b.c", True),
        ("a.#.b.#.c", "a.x.c", False),
        ("#.a.*", "a.a.b", True),
        ("*.#", "", False),
        ("*.#", "a", True),
        ("#.#", "", True),
        ("a.*", "a.", True),  # an empty word is a word
        ("a.#", "a.", True),
        ("a", "a.", False),
        ("a.b", "A.B", False),
    ],
)
def test_topic_pattern_matches_words(pattern, key, matches):
    assert topic_matches(key_words(pattern), key_words(key)) is matches


def test_topic_match_of_a_hostile_key_does_not_backtrack():
    pattern = key_words(".".join(["#", "a"] * 20) + ".b")

    assert not topic_matches(pattern, ["a"] * 128)


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({"x-match": "all", "a": "1", "b": "2"}, {"a": "1", "b": "2", "c": "3"}, True),
        ({"x-match": "all", "a": "1", "b": "2"}, {"a": "1"}, False),
        ({"a": "1"}, {"a": "2"}, False),
        ({"x-match": "any", "a": "1", "b": "2"}, {"b": "2"}, True),
        ({"x-match": "any", "a": "1", "b": "2"}, {"b": "1"}, False),
        ({"x-match": "any", "a": "1"}, {}, False),
        ({"x-match": "all"}, {}, True),
        ({"a": True}, {"a": 1}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": "1"}, {"a": 1}, False),
        ({"x-match": "all", "x-a": "1"}, {}, True),
        ({"x-match": "all-with-x", "x-a": "1"}, {}, False),
        ({"x-match": "all-with-x", "x-a": "1"}, {"x-a": "1"}, True),
        ({"x-match": "any", "x-a": "1"}, {"x-a": "1"}, False),
        ({"x-match": "any-with-x", "x-a": "1", "b": "2"}, {"x-a": "1"}, True),
    ],
)
def test_headers_are_compared_as_x_match_says(arguments, headers, matches):
    assert headers_match(arguments, headers) is matches


@pytest.fixture
def topology() -> Topology:
    return Topology(
        exchanges=[
            Exchange(name="d", type="direct", alternate="t"),
            Exchange(name="t", type="topic", alternate="h"),
            Exchange(name="f", type="fanout"),
            Exchange(name="h", type="headers", alternate="f"),
        ],
        queues=[Queue(name="one"), Queue(name="two"), Queue(name="three")],
        bindings=[
            Binding(exchange="f", queue="three"),
            Binding(exchange="d", queue="two", key="k"),
            Binding(exchange="d", queue="one", key="k"),
            Binding(exchange="t", queue="one", key="a.#"),
            Binding(exchange="t", queue="one", key="#.z"),
            Binding(exchange="h", queue="two", arguments={"colour": "red"}),
        ],
    )


def test_match_lists_queues_in_the_order_of_the_layout(topology):
    assert topology.match("d", "k") == ("one", "two")


def test_match_names_a_queue_once_when_two_of_its_bindings_match(topology):
    assert topology.match("t", "a.z") == ("one",)


def test_match_on_the_default_exchange_is_the_queue_of_that_name(topology):
    assert topology.match("", "two") == ("two",)
    assert topology.match("", "two.dead") == ()
    assert topology.match("", "penstock_delay_0") == ()


def test_match_on_an_unknown_exchange_is_nothing(topology):
    assert topology.match("nowhere", "k") == ()


def test_match_follows_alternate_exchanges_until_one_routes(topology):
    assert topology.match("d", "a.b") == ("one",)
    assert topology.match("d", "b", {"colour": "red"}) == ("two",)
    assert topology.match("d", "b") == ("three",)


def test_match_never_remembers_what_headers_decided(topology):
    assert topology.match("h", "", {"colour": "red"}) == ("two",)
    assert topology.match("h", "", {"colour": "blue"}) == ("three",)
    assert topology.match("t", "b", {"colour": "red"}) == ("two",)
    assert topology.match("t", "b") == ("three",)


def test_match_forgets_when_clients_choose_ever_new_keys(topology):
    for number in range(CACHE_SIZE + 10):
        topology.match("f", f"k{number}")
        topology.route(f"task{number}")

    assert 0 < len(topology._matches) <= CACHE_SIZE
    assert 0 < len(topology._routed) <= CACHE_SIZE
    assert topology.match("d", "k") == ("one", "two")
