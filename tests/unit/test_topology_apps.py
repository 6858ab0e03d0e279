"""Queues and exchanges of apps in a layout: described, and never declared."""

from pathlib import Path

import pytest

from penstock.wire.delay import ANY_DELAY
from penstock.wire.names import GATE_QUEUE
from topology.comparison import conflicts, foreign, misdescribed, missing, surplus
from topology.declarations import BindingDeclaration, Declarations, describe
from topology.entities import Binding, Exchange, Queue
from topology.errors import TopologyError
from topology.layout import load
from topology.management import Live
from topology.mermaid import mermaid
from topology.model import Topology
from topology.plan import declarations, of_apps
from topology.route import Route
from topology.text import show

APPS = """
[exchanges.celery]
type = "direct"
owner = "app"

[exchanges."C.dq2"]
type = "direct"
owner = "app"

[exchanges.feed]
type = "topic"
owner = "app"
publishable = true

[exchanges.all]
type = "fanout"
owner = "app"

[queues.celery]
owner = "app"
max_priority = 10
limit = 7
bindings = [{ exchange = "celery", key = "celery" }, { exchange = "feed", key = "feed.#" }]

[queues."w1@host.dq2"]
owner = "app"
bindings = [{ exchange = "C.dq2", key = "w1@host.dq2" }]

[queues."#.odd..name."]
owner = "app"
bindings = [{ exchange = "all", key = "a fanout exchange ignores it" }]

[queues.own]
bindings = [{ exchange = "feed", key = "feed.own.#" }]

[[routes]]
task = "proj.add"
exchange = "celery"
routing_key = "celery"

[[routes]]
task = "proj.direct"
exchange = ""
routing_key = "celery"

[[routes]]
task = "proj.everywhere"
exchange = "all"
routing_key = ""
"""


@pytest.fixture
def layout(tmp_path: Path) -> Topology:
    file = tmp_path / "layout.toml"
    file.write_text(APPS)
    return load(file)


def faults_of(text: str, folder: Path) -> str:
    file = folder / "layout.toml"
    file.write_text(text)
    with pytest.raises(TopologyError) as raised:
        load(file)
    return "\n".join(raised.value.faults)


def test_names_are_celerys(layout: Topology):
    assert layout.match("celery", "celery") == ("celery",)
    assert layout.match("", "celery") == ("celery",)
    assert layout.match("feed", "feed.own.x") == ("celery", "own")
    assert layout.match("C.dq2", "w1@host.dq2") == ("w1@host.dq2",)
    assert layout.match("all", "") == ("#.odd..name.",)
    celery = layout.queues["celery"]
    assert (celery.type, celery.dead_letter, celery.limit, celery.arguments) == (
        "classic", False, 7, {},
    )  # fmt: skip
    assert layout.has_app
    assert not load().has_app


def test_nothing_of_an_app_is_declared_but_a_binding_for_delays(layout: Topology):
    plan = declarations(layout)

    assert not {"celery", "C.dq2", "feed", "all"} & {one.name for one in plan.exchanges}
    assert not {"celery", "w1@host.dq2", "#.odd..name."} & {one.name for one in plan.queues}
    of_the_apps = [one for one in plan.bindings if one.destination in {"celery", "w1@host.dq2"}]
    assert [(one.source, one.key, one.required) for one in of_the_apps] == [
        ("penstock_delivery", f"{ANY_DELAY}.celery", False),
        ("penstock_delivery", f"{ANY_DELAY}.w1@host.dq2", False),
    ]
    assert not [one for one in plan.bindings if "odd" in one.destination]  # would be a pattern
    assert BindingDeclaration(source="feed", destination="own", key="feed.own.#") in plan.bindings
    assert [one.name for one in plan.queues if one.name.startswith(GATE_QUEUE)] == [
        "penstock_gate", "penstock_gate.dead",
    ]  # fmt: skip
    assert not [one for one in declarations(load()).queues if one.name.startswith(GATE_QUEUE)]


def test_what_leads_to_an_app_passes_the_gate_and_can_always_be_delayed(layout: Topology):
    for exchange, key in (("celery", "celery"), ("", "celery"), ("all", ""), ("feed", "feed.x")):
        assert layout.leads_to_app(exchange, layout.match(exchange, key))
        assert layout.delayable(exchange, key)
    assert not layout.leads_to_app("", ("own",))
    assert layout.own_exchanges == {"broadcast", "dead", "unrouted", "penstock_delivery"}


def test_a_live_broker_is_compared_without_what_is_an_apps(layout: Topology):
    plan, apps = declarations(layout), of_apps(layout)
    theirs = {"durable": True, "auto_delete": False, "internal": False}
    live = Live(
        exchanges={
            **{one.name: {"type": one.type, **theirs, **one.arguments} for one in plan.exchanges},
            "celery": {"type": "direct", **theirs, "durable": False},
            "feed": {"type": "fanout", **theirs},
        },
        queues={
            **{
                one.name: {"durable": True, "exclusive": False, "auto_delete": False}
                | dict(one.arguments)
                for one in plan.queues
            },
            "celery": {"durable": True, "exclusive": False, "auto_delete": False, "x-expires": 1},
            "added": {"durable": True, "exclusive": False, "auto_delete": False},
            "w1@host.celery.pidbox": {},
            "celeryev.1": {},
            "broadcast.w1": {},
            "penstock.history.events": {"durable": True},
            "1.reply": {"exclusive": True},
        },
        bindings=(
            *(one for one in plan.bindings if one.required),
            BindingDeclaration(source="celery", destination="celery", key="celery"),
            BindingDeclaration(source="celery", destination="celery", key="another"),
            BindingDeclaration(source="added", destination="added", key="added"),
            BindingDeclaration(source="dead", destination="celery", key="theirs"),
        ),
        depths={},
    )

    assert not list(missing(plan, live))
    assert not list(conflicts(plan, live))
    assert not list(surplus(plan, live))
    assert list(foreign(plan, apps, live)) == [
        "queue 'added'",
        "binding of queue 'celery' to 'dead' with key 'theirs'",
    ]
    assert "exchange 'C.dq2'" in list(missing(apps, live))
    assert "exchange 'celery'" not in list(missing(apps, live))
    assert list(misdescribed(apps, live)) == [
        "exchange 'feed' is fanout on the broker, the layout describes it as topic"
    ]


def test_a_layout_with_apps_is_shown_and_drawn(layout: Topology):
    assert "an app's" in show(layout)
    assert "celery" in mermaid(layout)
    assert describe(declarations(layout).bindings[0])
    assert of_apps(load()) == Declarations()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[queues.q]\nowner = "me"', "owner 'me' is none of penstock, app"),
        ('[exchanges.x]\ntype = "topic"\nowner = 1', "owner must be a string"),
        ('[exchanges.dead]\ntype = "direct"\nowner = "app"', "one of Penstock's own"),
        ('[queues.penstock_gate]\nowner = "app"', "one of Penstock's own"),
        ("[queues.penstock_gate]", "the name is reserved"),
        ('[queues.q]\n[queues."q.dead"]\nowner = "app"', "keeps the dead letters of 'q'"),
        ('[queues.q]\nowner = "app"\nmessage_ttl_ms = 5', "message_ttl_ms is for its app"),
        ('[queues.q]\nowner = "app"\ndead_letter = true', "dead_letter is for its app"),
        ('[queues.q]\nowner = "app"\ndelivery_limit = 5', "delivery_limit is for its app"),
        ('[exchanges.x]\ntype = "direct"\n[queues."x.y"]', "is the name of an exchange"),
        (
            '[[routes]]\ntask = "*"\nexchange = ""\nrouting_key = "a b"',
            """described by [queues."a b"] with owner = "app\"""",
        ),
        (
            """[exchanges.x]
            type = "topic"
            owner = "app"
            [[routes]]
            task = "*"
            exchange = "x"
            routing_key = "y"
            """,
            "reaches no queue",
        ),
    ],
)
def test_faults(text: str, fault: str, tmp_path: Path):
    assert fault in faults_of(text, tmp_path)


def test_long_names_of_apps_fit_where_ours_do_not():
    long = "q" * 250

    topology = Topology(
        queues=[Queue(name=long, type="classic", dead_letter=False, owner="app")],
        exchanges=[Exchange(name="amq.topic", type="topic", owner="app")],
        bindings=[Binding(exchange="amq.topic", queue=long, key="foo*.#")],
        routes=[Route(task="t", exchange="", routing_key=long)],
    )

    assert not [one for one in declarations(topology).bindings if one.destination == long]
    assert topology.delayable("", long)
