"""Celery's command line and application, used as its documentation shows, without any server."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import pytest
from celery.concurrency.thread import TaskPool

from devstack.product import ROOT
from penstock.worker.app import Penstock
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.layout import DeclaredLayout
from tasks.registry import TASKS
from topology.conflicts import explain
from topology.errors import Conflict, DeclarationConflict, DeclarationError
from topology.layout import load


def run(
    *argv: str, folder: Path = ROOT, env: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, str]:
    """Run a program that ends by itself; its status and all that it wrote."""
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **env},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "program", [["-m", "celery"], ["-c", "from celery.bin.celery import main; main()"]]
)
def test_the_package_is_an_application_for_celery(program: list[str]):
    status, output = run(sys.executable, *program, "-A", "tasks", "report")

    assert status == 0, output
    assert "penstock.worker.consuming.consumer:Consumer" in output


@pytest.mark.parametrize(
    ("module", "text", "words"),
    [
        ("acme.nothing", None, "there is no module acme.nothing (PYTHONPATH names its folder)"),
        ("acme-tasks", None, "'acme-tasks' is not the name of a module"),
        ("acme.broken", "import panda", "acme.broken cannot be imported: ModuleNotFoundError: No"),
        ("acme.broken", "def f(:", "acme.broken cannot be imported: SyntaxError: invalid syntax"),
        ("acme.broken", "TASKS = [print]", "acme.broken.TASKS lists what is no TaskSpec"),
    ],
)
def test_a_module_of_tasks_that_cannot_be_had_is_one_line(
    tmp_path: Path, module: str, text: str | None, words: str
):
    (tmp_path / "acme").mkdir()
    if text is not None:
        (tmp_path / "acme" / "broken.py").write_text(text)
    env = {"PYTHONPATH": str(tmp_path), "PENSTOCK_TASKS": f"json, {module}"}

    status, output = run(sys.executable, "-m", "celery", "-A", "tasks.worker", "report", env=env)

    assert status == 1
    assert output.startswith("PENSTOCK_TASKS: ")
    assert words in output
    assert output.count("\n") == 1
    assert "cannot be imported" not in output or f"{tmp_path}/acme/broken.py:1)" in output


def test_importing_the_package_makes_no_application():
    status, output = run(
        sys.executable, "-c",
        "import sys, tasks, tasks.config; assert 'tasks.app' not in sys.modules; tasks.nothing",
    )  # fmt: skip

    assert status == 1
    assert output.endswith("AttributeError: module 'tasks' has no attribute 'nothing'\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["worker", "-Q", "default,images"], "queue 'images' is not in the layout"),
        (["worker", "-X", "images"], "queue 'images' is not in the layout"),
        (["worker", "-Q", "images", "--detach"], "default.toml"),
        (["worker", "-Q", "callbacks"], "queue 'callbacks' is consumed by the gateway"),
        (["call", "demo.add", "--queue", "images"], "queue 'images' is not in the layout"),
    ],
)
def test_a_queue_that_no_worker_can_have_is_an_error_of_one_line(arguments: list[str], words: str):
    status, output = run(sys.executable, "-m", "celery", "-A", "tasks", *arguments)

    assert status == 1
    assert words in output
    assert len(output.splitlines()) == 1


def test_multi_shows_why_no_worker_starts(tmp_path: Path):
    _, output = run(
        sys.executable, "-m", "celery", "-A", "tasks", "multi", "start", "2", "-Q", "images",
        f"--pidfile={tmp_path}/%n.pid", f"--logfile={tmp_path}/%n.log",
    )  # fmt: skip

    assert output.count("queue 'images' is not in the layout") == 2
    assert output.count("FAILED") == 2
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())


def test_a_queue_of_the_layout_is_no_fault():
    topology = load()
    layout = DeclaredLayout(topology)

    assert {name for name in topology.queues if layout.queue_fault(name)} == {"callbacks"}


def test_tasks_without_a_route_are_named_with_the_remedy():
    app = application()
    # Not all of `app.tasks`: a shared task of another test belongs to every app of the process.
    shipped = [spec.name for spec in TASKS] + [
        one for one in app.tasks if one.startswith("celery.")
    ]
    assert app.layout.unrouted(shipped) is None

    advice = app.layout.unrouted([*shipped, "shop.price", "a.b"]) or ""

    assert "names a.b, shop.price: " in advice
    assert str(load().source) in advice
    assert "Add [[routes]]" in advice


@pytest.mark.parametrize(
    ("command", "option"), [("worker", "schedule_filename"), ("beat", "schedule")]
)
def test_a_schedule_file_is_said_to_be_unused(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
):
    (check,) = application().user_options["preload"]
    for value, said in [("x.db", True), ("celerybeat-schedule", False)]:
        context = click.Context(click.Command(command))
        context.params = {option: value}
        check.callback(context, check, None)

        assert ("schedules live in Redis" in capsys.readouterr().err) is said


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_pools_whose_patches_break_asyncio_are_refused(pool: str):
    (check,) = application().user_options["preload"]
    context = click.Context(click.Command("worker"))
    context.params = {
        "pool_cls": type("TaskPool", (), {"__module__": f"celery.concurrency.{pool}"})
    }

    with pytest.raises(click.ClickException, match=f"-P {pool} does not work here"):
        check.callback(context, check, None)
    context.params = {"pool_cls": TaskPool}
    check.callback(context, check, None)


def application() -> Penstock:
    return build_app(WorkerConfig(), load())


def test_periodic_tasks_of_a_program_are_added_as_celery_documents_it():
    app = application()
    app.conf.beat_schedule = {"nightly": {"task": "demo.add", "schedule": 3600, "args": [1, 2]}}
    configured = []

    @app.on_after_configure.connect  # type: ignore[untyped-decorator]
    def set_up(sender: Any, **_: Any) -> None:
        configured.append(sender)
        sender.add_periodic_task(10.0, hello.s("x"), name="say hello")

    @app.on_after_finalize.connect  # type: ignore[untyped-decorator]
    def set_up_later(sender: Any, **_: Any) -> None:
        sender.add_periodic_task(60.0, sender.tasks["demo.add"].s(1, 2), name="add")

    @app.task(name="demo.hello")  # type: ignore[untyped-decorator]
    def hello(text: str) -> str:
        return text

    assert app.tasks["demo.hello"]
    app.finalize()

    assert configured == [app]
    assert set(app.conf.beat_schedule) == {"nightly", "say hello", "add"}
    assert app.conf.beat_schedule["say hello"]["args"] == ("x",)


def test_a_refused_declaration_names_queue_argument_both_values_file_and_remedy():
    conflict = Conflict(kind="queue", name="q", argument="x-max-length", wanted="5", live="7")

    said = explain(DeclarationConflict([conflict]), "/etc/layout.toml")

    for word in ("'q'", "x-max-length", "7", "5", "/etc/layout.toml", "python -m topology apply"):
        assert word in said
    assert "\n" not in said
    other = explain(DeclarationError("queue 'q': ACCESS_REFUSED"), "/etc/layout.toml")
    assert "ACCESS_REFUSED" in other
