"""`penstock describe`: an application as Celery itself has it, without anything but Celery."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab
from celery.signals import before_task_publish

from penstock import describe
from penstock.__main__ import main
from penstock.describe import SENT_OPTIONS, urls_of, when, without_password
from penstock.wire.crontab import parse_crontab
from tests.apps.described_app import app

SOURCE = Path(describe.__file__)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the one file writes that was copied to another folder, where no library is."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copy(SOURCE, folder)
    (folder / "tests/apps").mkdir(parents=True)
    shutil.copy(ROOT / "tests/apps/described_app.py", folder / "tests/apps")
    program = subprocess.run(
        [sys.executable, "describe.py", "-A", "tests.apps.described_app"],
        cwd=folder, check=True, capture_output=True, text=True, env={},
    )  # fmt: skip
    assert "an application may print" in program.stderr
    return json.loads(program.stdout)


def task(described: Any, name: str) -> Any:
    return next(one for one in described["tasks"] if one["task"] == name)


def test_the_file_runs_on_the_oldest_python_that_celery_5_takes():
    ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {name.split(".")[0] for name, _ in imports()}

    assert imported - set(sys.stdlib_module_names) == {"celery", "kombu"}


def imports():
    for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((one.name, node) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module), node


def test_the_library_writes_what_the_copied_file_writes(described, capsys, tmp_path):
    path = tmp_path / "app.json"

    assert main(["describe", "-A", "tests.apps.described_app", "--output", str(path)]) == 0
    assert json.loads(path.read_text()) == described
    assert "14 tasks, 7 queues, 3 schedules" in capsys.readouterr().err


def test_no_password_is_in_the_file(described):
    assert "pass-word" not in json.dumps(described)
    assert described["broker"]["urls"] == ["memory://guest@localhost/shop"]
    assert described["backend"]["urls"] == ["redis://localhost:6379/3?timeout=5"]


def test_every_route_is_where_celerys_client_publishes(described):
    published: dict[str, tuple[str, str]] = {}

    def note(sender: str, exchange: Any, routing_key: str, **_: Any) -> None:
        published[sender] = (getattr(exchange, "name", exchange), routing_key)

    before_task_publish.connect(note)
    try:
        for name, one in app.tasks.items():
            if not name.startswith("celery."):
                one.apply_async(args=["x"], ignore_result=True)
    finally:
        before_task_publish.disconnect(note)
    routes = {one["task"]: one["route"] for one in described["tasks"]}

    assert len(routes) == 14
    assert {
        name: (route["exchange"], route["routing_key"]) for name, route in routes.items()
    } == published
    sent = {
        name: {one: route[one] for one in SENT_OPTIONS if one in route}
        for name, route in routes.items()
    }
    assert {name: options for name, options in sent.items() if options} == {
        "shop.new": {"priority": 3},
        "shop.report": {"expires": 300},
        "shop.direct": {"priority": 5},
    }
    assert described["routers"] == [
        "mapping",
        "route",
        "<tests.apps.described_app.Undecided object>",
    ]


def test_queues_are_as_they_are_declared(described):
    queues = {one["name"]: one for one in described["queues"]}

    assert sorted(queues) == [
        "everyone", "feed", "lead", "made.up", "mixed", "routed", "shop",
    ]  # fmt: skip
    assert [name for name, queue in queues.items() if queue["broadcast"]] == ["everyone"]
    assert queues["feed"]["arguments"] == {"x-max-priority": 10}
    assert queues["feed"]["bindings"] == [
        {"exchange": "feed", "exchange_type": "topic", "key": "feed.#", "arguments": {}}
    ]
    assert queues["lead"]["arguments"] == {"x-queue-type": "quorum"}
    assert [one["key"] for one in queues["mixed"]["bindings"]] == ["a.#", "b.#", "mixed"]


def test_tasks_have_what_their_authors_wrote(described):
    add = task(described, "shop.add")

    assert (add["doc"], add["coroutine"]) == ("Add two integers.", False)
    assert add["options"] == {"ignore_result": True, "time_limit": 30, "serializer": "json"}
    assert [one["schema"] for one in add["params"]] == [
        {"type": "integer"},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "string"},
    ]
    take = task(described, "shop.feed.take")
    assert [one["name"] for one in take["params"]] == ["items", "opts"]
    assert take["params"][0]["schema"] == {"type": "array", "items": {"type": "integer"}}
    assert take["returns"] == {"type": "string"}
    report = task(described, "shop.report")
    assert report["doc"] == "Report a day."
    assert task(described, "shop.new")["doc"] == "Take anything."
    assert [(one["name"], one["kind"]) for one in report["params"]] == [
        ("day", "positional_or_keyword"),
        ("flag", "keyword_only"),
    ]
    assert task(described, "shop.coroutine")["coroutine"]
    assert task(described, "shop.retried")["coroutine"]
    assert not task(described, "shop.bridged")["coroutine"]


def test_a_decorator_that_gives_arguments_leaves_them_unchecked(described):
    kinds = [one["kind"] for one in task(described, "shop.sessioned")["params"]]

    assert kinds == ["var_positional", "var_keyword"]


def test_schedules_are_as_the_api_writes_them(described):
    schedules = {one.pop("name"): one for one in json.loads(json.dumps(described["schedules"]))}

    assert schedules["often"]["every"] == 10.0
    assert schedules["added"]["every"] == 30.0
    assert schedules["added"]["args"] == [3]
    assert schedules["nightly"]["crontab"] == {
        "minute": "*/5", "hour": "3", "day_of_week": "*", "day_of_month": "*",
        "month_of_year": "*", "timezone": "Europe/Oslo",
    }  # fmt: skip
    assert schedules["nightly"]["kwargs"] == {"x": 1, "api_key": None}
    assert schedules["nightly"]["hidden"] == ["api_key"]


def test_the_backend_says_where_records_are(described):
    assert described["backend"]["kind"] == "redis"
    assert described["backend"]["task_keyprefix"] == "acme_celery-task-meta-"


def test_an_application_that_cannot_be_imported_is_one_line(capsys):
    assert main(["describe", "-A", "tests.no_such_app"]) == 1
    assert "No module named" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://u:p@h:5672/v", "amqp://u@h:5672/v"),
        ("amqp://u:p@h//", "amqp://u@h//"),
        ("amqp://u:p/w@h/v", "amqp://h/v"),
        ("redis://:p#w@h/1", "redis://h/1"),
        ("redis://:p@h/1?password=x&db=2", "redis://h/1?db=2"),
        ("amqp://h/v@x", "amqp://x"),
        ("sentinel://:p@h:26379", "sentinel://h:26379"),
        ("db+postgresql://u:p@h/d", "db+postgresql://"),
        ("azureblockblob://DefaultEndpointsProtocol=https;AccountKey=k==", "azureblockblob://"),
        ("azurestoragequeues://k@https://h", "azurestoragequeues://"),
        ("sqs://id:k@", "sqs://"),
        ("rpc", "rpc"),
        ("amqp://", "amqp://"),
        ("redis:///1", "redis:///1"),
        ("pyamqp://u:p@h//", "pyamqp://u@h//"),
        ("amqps://u:p@[::1]:5671/v?cafile=/c.pem", "amqps://u@[::1]:5671/v?cafile=%2Fc.pem"),
    ],
)
def test_a_url_loses_its_password(url: str, shown: str):
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("setting", "urls"),
    [
        ("azureblockblob://A=https;AccountKey=k", ["azureblockblob://A=https;AccountKey=k"]),
        ("amqp://a;amqp://b", ["amqp://a", "amqp://b"]),
        ("sentinel://a:1;sentinel://b:1", ["sentinel://a:1", "sentinel://b:1"]),
        (["amqp://a", "amqp://b"], ["amqp://a", "amqp://b"]),
        (None, []),
    ],
)
def test_servers_of_a_setting_are_told_apart(setting: Any, urls: list[str]):
    assert urls_of(setting) == urls


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (crontab(minute=[0, 30], hour={2, 1}), ("0,30", "1,2")),
        (crontab(minute=5, hour="*/2"), ("5", "*/2")),
        (crontab(minute=range(0, 60, 20)), ("0,20,40", "*")),
    ],
)
def test_a_crontab_is_written_as_the_gateway_takes_it(given: Any, written: tuple[str, str]):
    found = when(Celery(set_as_current=False), given)["crontab"]

    assert (found["minute"], found["hour"]) == written
    del found["timezone"]
    parse_crontab(found, ZoneInfo("UTC"))
