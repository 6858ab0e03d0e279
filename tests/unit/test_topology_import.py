"""From the description of an application to a layout and a report."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.submitting.catalog import Catalog
from penstock.describe import describe
from penstock.wire.app_description import (
    AppDescription,
    DescriptionError,
    decode,
    load,
    signatures,
)
from tests.apps.described_app import app as application
from topology.__main__ import main
from topology.app_layout import from_apps, from_broker
from topology.app_report import findings, of_broker
from topology.app_settings import settings
from topology.declarations import BindingDeclaration
from topology.errors import TopologyError
from topology.layout import load as load_layout
from topology.management import Live


@pytest.fixture(scope="module")
def document() -> Any:
    """What `penstock describe` writes, on an ordinary broker."""
    application.finalize()
    found = describe(application, "tests.apps.described_app")
    found["broker"] = {"kind": "amqp", "urls": ["amqp://u@h/shop"], "vhost": "shop", "tls": False}
    return json.loads(json.dumps(found))


def described(document: Any, **changes: Any) -> AppDescription:
    return decode(json.dumps({**document, **changes}))


def report(app: AppDescription, live: Live | None = None) -> str:
    return "\n".join(map(str, findings([app], from_apps([app], live), live)))


def written(tmp_path: Path, document: Any, *options: str) -> tuple[int, Path]:
    file, layout = tmp_path / "app.json", tmp_path / "layouts/layout.toml"
    layout.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document))
    return main(["import", "--app", str(file), "-o", str(layout), *options], {}), layout


def test_every_task_goes_where_celerys_client_sends_it(document, tmp_path):
    code, file = written(tmp_path, document)
    assert code == 0
    topology = load_layout(file)

    routes = {route.task: (route.exchange, route.routing_key) for route in topology.routes}
    assert routes == {
        one["task"]: (one["route"]["exchange"], one["route"]["routing_key"])
        for one in document["tasks"]
    }
    assert all(topology.match(*place) for place in routes.values())
    assert topology.route("shop.ad") is None
    assert not any(topology.queues[name].ours for name in ("shop", "feed", "lead", "made.up"))
    assert {one.task: dict(one.defaults) for one in topology.routes if one.defaults} == {
        "shop.new": {"priority": 3},
        "shop.report": {"expires": 300},
        "shop.direct": {"priority": 5},
    }
    silent = [route.task for route in topology.routes if route.ignore_result]
    assert silent == ["shop.add"]
    assert topology.queues["feed"].max_priority == 10
    assert topology.queues["lead"].type == "quorum"
    assert [app.app for app in topology.apps] == ["tests.apps.described_app"]


def test_a_layout_that_exists_is_not_replaced(document, tmp_path, capsys):
    written(tmp_path, document)
    code, file = written(tmp_path, document)
    assert code == 2
    assert "exists: name another file, or say --force" in capsys.readouterr().err

    file.write_text("")
    assert written(tmp_path, document, "--force")[0] == 0
    assert tomllib.loads(file.read_text())["apps"] == ["../app.json"]


def test_a_task_with_a_pattern_for_a_name_and_one_without_a_queue_are_left_out(document):
    first = document["tasks"][0]
    odd = {**first, "task": "shop.*"}
    lost = {**first, "task": "lost", "route": {**first["route"], "exchange": "feed"}}
    broken = {**first, "task": "broken", "route": {"error": "KeyError('x')"}}
    app = described(document, tasks=[first, odd, lost, broken])
    draft = from_apps([app])

    assert [route.task for route in draft.routes] == [first["task"]]
    words = report(app)
    assert "a route would take its name for a pattern" in words
    assert "publishes it to exchange 'feed' with key 'shop', where no queue is bound" in words
    assert "without arguments a router raised KeyError('x')" in words
    assert "tasks: 1 of 4 have a route" in words


ALL = {"task": "json", "result": "json", "accept": ["json"]}
VERDICTS: list[tuple[dict[str, Any], str, bool]] = [
    ({"broker": {"kind": "redis", "urls": ["redis://h"]}}, "its broker is redis", True),
    ({"serializers": {**ALL, "accept": ["pickle"]}}, "its workers accept pickle", True),
    (
        {
            "serializers": {
                **ALL,
                "task": "pickle",
                "accept": ["json", "application/x-python-pickle"],
            }
        },
        "its own clients may go on with x-python-pickle",
        False,
    ),
    ({"serializers": {**ALL, "result": "pickle"}}, "results: they are pickle", False),
    ({"backend": {"kind": "rpc", "urls": []}}, "its backend is rpc", False),
    ({"backend": {"kind": "disabled", "urls": []}}, "its backend is disabled", False),
    ({"protocol": 1}, "its own clients write protocol 1", False),
    ({"settings": {"worker_enable_remote_control": False}}, "workers do not listen", False),
    ({"settings": {"worker_direct": True}}, "behind exchange C.dq2", False),
    ({"celery": "5.4.0"}, "queue 'lead' is a quorum queue", False),
    ({}, "route, <tests.apps.described_app.Undecided object> decides by arguments", False),
    ({}, "queue 'everyone': each worker makes one of its own", False),
    ({}, "shop.add: stores no result", False),
    ({}, "fill in api_key", False),
    ({"settings": {"event_exchange": "shop.ev"}}, "send events to exchange 'shop.ev'", False),
    ({}, "shop.when(at: datetime, days: date)", False),
    ({}, "added, nightly, often can move to the gateway", False),
]


@pytest.mark.parametrize(("changes", "words", "stops"), VERDICTS)
def test_the_report_says_what_works_and_what_does_not(document, changes, words, stops, tmp_path):
    assert words in report(described(document, **changes))
    assert written(tmp_path, {**document, **changes})[0] == int(stops)


def test_settings_of_the_gateway_follow(document):
    assert settings([described(document)])[0] == {
        "AMQP_URL": "amqp://u@h/shop",
        "REDIS_URL": "redis://localhost:6379/3?timeout=5",
        "RESULT_KEY_PREFIX": "acme_",
    }
    old = {
        **document["backend"],
        "global_keyprefix": "a:",
        "task_keyprefix": "a:_celery-task-meta-",
    }
    assert settings([described(document, backend=old)])[0]["RESULT_KEY_PREFIX"] == "a:_"
    sentinels = {
        "kind": "sentinel",
        "urls": ["sentinel://a:26379/2", "sentinel://b:26379/2"],
        "primary": "main",
    }
    found = settings([described(document, backend=sentinels)])[0]
    assert found["REDIS_URL"] == "redis+sentinel://a:26379,b:26379/main/2"


def test_addresses_are_written_as_the_gateway_reads_them(document):
    """Celery takes several URLs, other schemes, and settings for what stands in the URL here."""
    broker = {
        "kind": "amqp",
        "urls": ["pyamqp://u@a:5671/%2Fx", "pyamqp://u@b:5671/%2Fx", "pyamqp://other@c/%2Fx"],
        "vhost": "/x",
        "tls": True,
    }
    backend = {"kind": "redis", "urls": ["redis://r/2?ssl_cert_reqs=CERT_NONE"], "tls": True}
    kept = {"result_expires": 3600.0, "control_exchange": "shop.control"}
    found = settings([described(document, broker=broker, backend=backend, settings=kept)])[0]

    assert found == {
        "AMQP_URL": "amqps://u@a:5671,b:5671/%2Fx",
        "REDIS_URL": "rediss://r/2?ssl_cert_reqs=none",
        "RESULT_EXPIRES_S": "3600",
        "CONTROL_EXCHANGES": "shop.control",
    }
    config = GatewayConfig.from_env(found)
    assert config.result_expires_s == 3600
    assert config.control_exchanges == ("shop.control",)


@pytest.mark.parametrize(("expires", "kept_s"), [(None, 366 * 86_400), (0, 366 * 86_400), (0.5, 1)])
def test_results_that_never_expire_are_kept_for_as_long_as_a_gateway_counts(
    document, expires, kept_s
):
    app = described(document, settings={"result_expires": expires})
    assert settings([app])[0]["RESULT_EXPIRES_S"] == str(kept_s)


def second(document: Any, **changes: Any) -> Any:
    """Another application on the same servers, with a task and a queue of its own."""
    task = {**document["tasks"][0], "task": "other.one"}
    task["route"] = {**task["route"], "exchange": "", "routing_key": "other"}
    queue = {**document["queues"][0], "name": "other", "broadcast": False}
    changes = {"app": "other", "tasks": [task], "queues": [queue], **changes}
    return {**document, **changes}


def test_two_applications_on_one_broker_have_one_layout(document, tmp_path, capsys):
    other = tmp_path / "other.json"
    more = {"result_expires": 7 * 86_400, "control_exchange": "other.control"}
    other.write_text(json.dumps(second(document, settings=more)))
    code, file = written(tmp_path, document, "--app", str(other))
    assert code == 0

    topology = load_layout(file)
    assert {"shop", "other"} <= topology.queues.keys()
    assert [one.routing_key for one in topology.routes if one.task == "other.one"] == ["other"]
    assert [app.app for app in topology.apps] == ["tests.apps.described_app", "other"]
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("app ")] == [
        "app    tests.apps.described_app",
        "app    other",
    ]
    assert "works  tasks: 1 of 1 have a route" in lines
    assert "set    RESULT_EXPIRES_S=604800" in lines
    assert "set    CONTROL_EXCHANGES=celery,other.control" in lines


def test_what_two_applications_cannot_share_is_named(document, tmp_path, capsys):
    other = tmp_path / "other.json"
    same = [{**document["tasks"][0], "route": {**document["tasks"][0]["route"]}}]
    same[0]["route"] |= {"exchange": "", "routing_key": "other"}
    queue = {**document["queues"][0], "name": "other", "broadcast": False}
    feed = {**queue, "name": "feed", "bindings": []}
    backend = {"kind": "redis", "urls": ["redis://localhost:6379/4"]}
    other.write_text(
        json.dumps(second(document, tasks=same, queues=[queue, feed], backend=backend))
    )
    assert written(tmp_path, document, "--app", str(other))[0] == 0
    told = capsys.readouterr().out

    assert f"task {same[0]['task']!r}: another application has one of this name" in told
    assert "queue 'feed': two applications declare it, as classic with x-max-priority 10" in told
    assert "states of other: REDIS_URL=redis://localhost:6379/4, and a gateway has one" in told
    assert "states of other: RESULT_KEY_PREFIX=, and a gateway has one, acme_" in told

    broker = {**document["broker"], "urls": ["amqp://u@elsewhere/shop"]}
    other.write_text(json.dumps(second(document, broker=broker)))
    assert written(tmp_path, document, "--app", str(other), "--force")[0] == 1
    assert "submits of other: AMQP_URL=amqp://u@elsewhere/shop" in capsys.readouterr().out
    broker["urls"] = ["amqp://another@h/shop"]  # an account of its own
    other.write_text(json.dumps(second(document, broker=broker)))
    assert written(tmp_path, document, "--app", str(other), "--force")[0] == 0


def test_a_priority_beyond_what_a_submit_may_have_is_named(document, tmp_path, capsys):
    task = {**document["tasks"][0]}
    task["route"] = {**task["route"], "priority": 20}
    code, file = written(tmp_path, {**document, "tasks": [task]})

    assert code == 0
    assert "priority is 20, 0 to 9 are possible" in capsys.readouterr().out
    assert load_layout(file).routes[0].priority is None


def live(**queues: Any) -> Live:
    plain = {"durable": True, "exclusive": False, "auto_delete": False}
    return Live(
        exchanges={"feed": {"type": "topic"}, "celery": {"type": "direct"}},
        queues={name.replace("__", "."): {**plain, **more} for name, more in queues.items()},
        bindings=(
            BindingDeclaration(source="feed", destination="shop", key="by.hand"),
            BindingDeclaration(source="celery", destination="celery", key="celery"),
        ),
        depths={},
    )


def test_what_the_broker_has_wins_over_the_description(document):
    app = described(document)
    on_broker = live(shop={"x-queue-type": "quorum"}, feed={"x-max-priority": 5})
    draft = from_apps([app], on_broker)

    assert draft.queues["shop"].type == "quorum"
    assert draft.queues["feed"].max_priority == 5
    assert draft.topology().match("feed", "by.hand") == ("shop",)
    assert "queue 'lead' is not on the broker" in report(app, on_broker)


def test_states_of_an_application_with_the_library_are_whole(document):
    assert "task_track_started" in report(described(document))
    told = report(described(document, installed=True))
    assert "penstock.install is in it" in told
    assert "task_track_started" not in told


def test_a_broker_alone_gives_a_route_for_every_name():
    made_for_themselves = ("celeryev__x", "a__celery__pidbox", "penstock__history__events")
    theirs = ("celery", "shop", "penstock_gate", *made_for_themselves)
    draft = from_broker(live(**{name: {} for name in theirs}))

    assert sorted(draft.queues) == ["celery", "shop"]
    assert draft.topology().route("anything") is not None
    assert "a typo is accepted" in "\n".join(map(str, of_broker(draft)))
    assert next(of_broker(from_broker(live()))).stops


def test_arguments_are_checked_by_the_description(document):
    catalog = Catalog(None, signatures([described(document)]))

    catalog.check("shop.add", b"[1, null]", b"{}")
    with pytest.raises(Problem) as refused:
        catalog.check("shop.add", b'["one"]', b'{"z": 1}')
    assert [fault.at for fault in refused.value.faults] == ["$.args[0]", "$.kwargs.z"]
    catalog.check("shop.sessioned", b'["anything"]', b'{"z": 1}')


def test_what_a_worker_announces_wins_over_the_description(document):
    catalog = Catalog(None, signatures([described(document)]))
    announced = {"task": "shop.add", "params": [], "returns": {}, "seen": 100.0}
    catalog.take({"shop.add\n1": json.dumps(announced)}, 100.0)

    catalog.check("shop.add", b"[]", b"{}")
    with pytest.raises(Problem):
        catalog.check("shop.add", b"[1]", b"{}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "no description"),
        ("[]", "no description"),
        ('{"penstock_app": 2}', "format 2, this release reads 1"),
        ('{"penstock_app": 1}', "no description"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_description_is_named(text, words, tmp_path, capsys):
    file = tmp_path / "app.json"
    if text is not None:
        file.write_text(text)

    with pytest.raises(DescriptionError, match=words):
        load(file)
    assert main(["import", "--app", str(file)], {}) == 2
    assert str(file) in capsys.readouterr().err
    layout = tmp_path / "layout.toml"
    layout.write_text('apps = ["app.json"]')
    with pytest.raises(TopologyError, match=words):
        load_layout(layout)


def test_descriptions_of_layouts_that_extend_each_other_are_all_read(document, tmp_path):
    (tmp_path / "base").mkdir()
    for name in ("base/a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(document))
    (tmp_path / "base/base.toml").write_text('apps = ["a.json"]')
    (tmp_path / "own.toml").write_text('extends = "base/base.toml"\napps = ["b.json"]')

    assert len(load_layout(tmp_path / "own.toml").apps) == 2


def test_import_without_a_source_is_refused(capsys):
    assert main(["import"], {}) == 2
    assert "--app FILE" in capsys.readouterr().err
