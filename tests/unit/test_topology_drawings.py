"""The layout as text and Mermaid."""

from topology.entities import Binding, Exchange, Queue
from topology.layout import load
from topology.mermaid import mermaid
from topology.model import Topology
from topology.text import show

ODD = Topology(
    exchanges=[
        Exchange(name="a&b", type="headers", alternate="lonely"),
        Exchange(name="lonely", type="fanout"),
        Exchange(name='quo"ted', type="topic"),
    ],
    queues=[Queue(name="x<y", dead_letter=False), Queue(name="a long name with spaces")],
    bindings=[
        Binding(exchange="a&b", queue="x<y", arguments={"x-match": "any", "colour": "red"}),
        Binding(exchange='quo"ted', queue="x<y", key="*.#"),
    ],
)


def test_mermaid_draws_each_binding_with_its_key():
    lines = mermaid(load()).splitlines()

    assert lines[0] == "flowchart LR"
    assert '    x_events -- "documents.#35;" --> q_mongo_5f_queue' in lines
    assert '    x_tasks -- "default" --> q_default' in lines


def test_mermaid_escapes_what_would_end_a_label():
    drawn = mermaid(ODD)

    assert 'quo"ted' not in drawn
    assert "quo#quot;ted" in drawn
    assert "x<y" not in drawn
    assert "a&amp;b" in drawn


def test_mermaid_draws_an_apostrophe_and_a_hash_as_they_are():
    topology = Topology(
        exchanges=[Exchange(name="it's", type="topic")],
        queues=[Queue(name="q")],
        bindings=[Binding(exchange="it's", queue="q", key="a'.#")],
    )

    lines = mermaid(topology).splitlines()

    assert '    x_it_27_s{{"it\'s<br/><i>topic</i>"}}' in lines
    assert '    x_it_27_s -- "a\'.#35;" --> q_q' in lines


def test_show_lists_routes_with_the_queues_they_reach():
    told = show(load())

    assert "documents.store  events documents.unnamed  → mongo_queue" in told
    assert "34 exchanges, 46 queues" in told
    assert show(Topology()).startswith("EXCHANGES")
