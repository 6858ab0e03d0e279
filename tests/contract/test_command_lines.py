"""`--help` explains, `--version` tells, and what is not understood is an error: nothing starts."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.__main__ import check_arguments as devstack
from devstack.product import ROOT
from gateway.command_line import check_arguments as gateway
from gateway.command_line import listed, variables
from penstock import VERSION
from tasks.__main__ import check_arguments as tasks
from topology.__main__ import main

SETTINGS = (Path(__file__).parents[2] / "docs/configuration.md").read_text(encoding="utf-8")
Check = Callable[[list[str]], object]


def topology(arguments: list[str]) -> None:
    main(arguments, {})


@pytest.mark.parametrize("check", [gateway, tasks, devstack, topology])
@pytest.mark.parametrize(
    ("arguments", "status"), [(["--help"], 0), (["--version"], 0), (["--port", "1"], 2)]
)
def test_a_command_line_is_explained_or_refused(
    check: Check, arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        check(arguments)

    said = capsys.readouterr()
    assert ended.value.code == status
    assert ("nvironment" in said.out) == (arguments == ["--help"])
    assert (f"penstock {VERSION}\n" == said.out) == (arguments == ["--version"])
    assert ("error: " in said.err) == (status == 2)


def test_the_gateways_help_names_every_variable_and_the_documentation_each_of_them():
    names = set(variables())

    plain = {name for name in names if name.removesuffix("_FILE") not in names - {name}}
    assert sorted(listed()) == sorted(plain)
    assert {
        name for name in names if f"`{name}" not in SETTINGS and f"{name}`" not in SETTINGS
    } <= {f"{name}_FILE" for name in names}


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    assert project["project"]["version"] == VERSION


def penstock(*arguments: str, folder: Path, **env: str) -> tuple[int, str]:
    """Run the command of this checkout as `devstack/bootstrap.sh` installs it."""
    command = folder / "root" / ".venv" / "bin" / "penstock"
    if not command.exists():
        command.parent.mkdir(parents=True)
        shutil.copy(ROOT / "devstack" / "penstock.sh", command)
        command.chmod(0o755)
        python = command.parent / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (folder / "root" / "penstock").symlink_to(ROOT / "penstock")
    done = subprocess.run(
        [command, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **env},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


APP = """
from penstock import {name}
app = {name}("proj", broker="amqp://127.0.0.1:1//", backend="redis://127.0.0.1:1/0")
app.conf.task_acks_late = {late}

@app.task(name="proj.add", bind=True)
async def add(self, x: int, y: int = 2) -> int:
    return x + y
"""


def test_the_command_penstock_says_whether_an_application_is_ready(tmp_path: Path):
    assert penstock("--version", folder=tmp_path) == (0, f"penstock {VERSION}\n")
    (tmp_path / "proj.py").write_text(APP.format(name="Penstock", late="False"))

    status, said = penstock("check", "-A", "proj", folder=tmp_path)

    assert status == 1
    assert "ok     application  proj, Celery " in said
    assert "ok     task         proj.add(x: int, y: int = 2) is a coroutine\n" in said
    assert "FAULT  setting      task_acks_late = False: a worker that dies loses the tasks" in said
    assert "FAULT  redis        Error 111" in said
    assert "FAULT  broker       " in said
    assert "Traceback" not in said


def test_the_command_penstock_names_what_is_no_application_of_ours(tmp_path: Path):
    stock = APP.replace("from penstock", "from celery").format(name="Celery", late="True")
    (tmp_path / "proj.py").write_text(stock)

    assert "make it a penstock.Penstock" in penstock("check", "-A", "proj", folder=tmp_path)[1]
    assert "No module named 'nothing'" in penstock("check", "-A", "nothing", folder=tmp_path)[1]
    status, said = penstock("topology", "show", folder=tmp_path)
    assert status == 1
    assert said.startswith("penstock topology: not installed here.")
