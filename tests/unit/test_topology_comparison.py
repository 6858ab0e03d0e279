"""A layout beside what a broker lists, the texts of its refusals, and the settings of the CLI."""

from dataclasses import replace

import pytest

from topology.comparison import conflicts, foreign, missing, surplus, waiting
from topology.conflicts import read_conflict
from topology.declarations import BindingDeclaration, Declarations, describe
from topology.layout import load
from topology.management import Live, ManagementError, fetch
from topology.plan import declarations
from topology.settings import Settings, SettingsError

PLAN = declarations(load())
LIVE = Live(
    exchanges={
        e.name: {"type": e.type, "durable": True, "auto_delete": False, "internal": False}
        | dict(e.arguments)
        for e in PLAN.exchanges
    },
    queues={
        q.name: {"durable": True, "exclusive": False, "auto_delete": False} | dict(q.arguments)
        for q in PLAN.queues
    },
    bindings=PLAN.bindings,
    depths={"penstock_delay_3": 4, "default": 9},
)


def test_a_broker_that_was_declared_from_the_layout_is_the_same():
    assert list(missing(PLAN, LIVE)) == []
    assert list(conflicts(PLAN, LIVE)) == []
    assert list(surplus(PLAN, LIVE)) == []
    assert list(foreign(PLAN, Declarations(), LIVE)) == []


def test_what_the_broker_lacks_is_named():
    live = replace(
        LIVE,
        exchanges={name: row for name, row in LIVE.exchanges.items() if name != "tasks"},
        queues={name: row for name, row in LIVE.queues.items() if name != "default.dead"},
        bindings=LIVE.bindings[1:],
    )

    assert list(missing(PLAN, live)) == [
        "exchange 'tasks'",
        "queue 'default.dead'",
        "binding of queue 'default' to 'tasks' with key 'default'",
    ]


def test_every_argument_that_differs_is_named():
    queues = dict(LIVE.queues)
    queues["default"] = {**queues["default"], "x-max-length": 7, "durable": False}
    queues["scripts"] = {**queues["scripts"], "x-single-active-consumer": True}
    exchanges = dict(LIVE.exchanges)
    exchanges["events"] = {**exchanges["events"], "type": "direct"}

    told = [str(c) for c in conflicts(PLAN, replace(LIVE, queues=queues, exchanges=exchanges))]

    layout = "on the broker, the layout says"
    assert told == [
        f"exchange 'events': type is direct {layout} topic",
        f"queue 'default': durable is false {layout} true",
        f"queue 'default': x-max-length is 7 {layout} 5000000",
        f"queue 'scripts': x-single-active-consumer is true {layout} none",
    ]


def test_bindings_that_the_layout_does_not_have_are_told_apart():
    inside = BindingDeclaration(source="events", destination="default", key="#")
    outside = BindingDeclaration(source="events", destination="audit", key="#")
    worker = BindingDeclaration(source="broadcast", destination="broadcast.celery@w1")
    live = replace(LIVE, bindings=(*LIVE.bindings, inside, outside, worker))

    assert list(surplus(PLAN, live)) == [inside]
    assert list(foreign(PLAN, Declarations(), live)) == [describe(outside)]


def test_only_levels_that_hold_messages_are_counted():
    assert waiting(LIVE) == {"penstock_delay_3": 4}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            (
                "inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received the value "
                "'5000000' of type 'signedint' but current is the value '10' of type 'long'"
            ),
            "x-max-length is 10 on the broker, the layout says 5000000",
        ),
        (
            (
                "inequivalent arg 'durable' for queue 'q' in vhost 'it's': received 'true' "
                "but current is 'false'"
            ),
            "durable is false on the broker, the layout says true",
        ),
        (
            (
                "inequivalent arg 'x-dead-letter-exchange' for queue 'q' in vhost '/': received "
                "the value 'dead' of type 'longstr' but current is none"
            ),
            "x-dead-letter-exchange is none on the broker, the layout says dead",
        ),
        (
            "cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be …",
            "exclusive is true on the broker, the layout says false",
        ),
        ("something new", "? is (something new) on the broker, the layout says otherwise"),
    ],
)
def test_a_refusal_is_read(text, told):
    assert str(read_conflict("queue", "q", text)) == f"queue 'q': {told}"


def test_settings_say_which_virtual_host_is_meant():
    settings = Settings.from_env({"AMQP_URL": "amqp://u:p@rabbit:5672/a%2Fb"})

    assert settings.vhost == "a/b"
    assert settings.broker == "rabbit:5672 vhost a/b"
    assert "p@" not in repr(settings)
    assert Settings.from_env({}).vhost == "/"


def test_every_fault_of_the_settings_is_told(tmp_path):
    with pytest.raises(SettingsError) as raised:
        Settings.from_env(
            {
                "AMQP_URL": "http://x",
                "RABBITMQ_MANAGEMENT_URL": "http://x",
                "RABBITMQ_MANAGEMENT_URL_FILE": str(tmp_path / "absent"),
            }
        )

    assert str(raised.value).splitlines() == [
        "AMQP_URL must begin with amqp:// or amqps://",
        "RABBITMQ_MANAGEMENT_URL and RABBITMQ_MANAGEMENT_URL_FILE are both set",
    ]


def test_a_management_api_that_is_not_there_is_said_so():
    with pytest.raises(ManagementError, match=r"127\.0\.0\.1:1/api/exchanges/%2F: .*refused"):
        fetch("http://guest:secret@127.0.0.1:1", "/")
    with pytest.raises(ManagementError, match="must be http"):
        fetch("amqp://localhost", "/")
