"""`--help` explains, `--version` tells, and what is not understood is an error: nothing starts."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.__main__ import check_arguments as devstack
from devstack.ports import free_port
from devstack.product import ROOT
from gateway.command_line import check_arguments as gateway
from gateway.config import GatewayConfig
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


class Asked(dict[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.names.add(name)
        return default


def test_the_gateways_help_names_every_variable_and_the_documentation_each_of_them(
    capsys: pytest.CaptureFixture[str],
):
    asked = Asked()
    GatewayConfig.from_env(asked)
    names = {name for name in asked.names if not name.endswith("_FILE_FILE")}
    with pytest.raises(SystemExit):
        gateway(["--help"])
    listed = re.findall(
        r"\b[A-Z]+(?:_[A-Z]+)*\b", capsys.readouterr().out.partition("NAME_FILE")[2]
    )

    plain = {name for name in names if name.removesuffix("_FILE") not in names - {name}}
    assert sorted(listed) == sorted(plain)
    assert {
        name for name in names if f"`{name}" not in SETTINGS and f"{name}`" not in SETTINGS
    } <= {f"{name}_FILE" for name in names}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_file_that_cannot_be_used_ends_the_gateway_with_a_sentence(
    tmp_path: Path, processes: str
):
    (tmp_path / "keys.toml").write_text('[[key]]\nname = "a"\n')
    (tmp_path / "layout.toml").write_text("[queues.a]\ntype = 1\n")
    for variable, name, said in (
        ("GATEWAY_KEYS_FILE", "keys.toml", "the key file is not valid"),
        ("TOPOLOGY_FILE", "layout.toml", "the topology file is not valid"),
    ):
        environ = {
            "PATH": os.environ["PATH"],
            "GATEWAY_PORT": str(free_port()),
            "GATEWAY_PROCESSES": processes,
        }
        done = subprocess.run(
            [sys.executable, "-m", "gateway"],
            env={**environ, variable: str(tmp_path / name)},
            cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr


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
        # -S: with the packages of this Python, and without its way to this checkout.
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        python.chmod(0o755)
        (folder / "root" / "penstock").symlink_to(ROOT / "penstock")
    done = subprocess.run(
        [command, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": sysconfig.get_path("purelib"), **env},
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


def test_the_worker_of_the_image_knows_its_pool_of_coroutines(tmp_path: Path):
    """Its command imports the pool before it looks into the working directory."""
    text = (ROOT / "Dockerfile.worker").read_text(encoding="utf-8")
    set_there = dict(re.findall(r"^(?:ENV)? +([A-Z_]+)=(\S+)", text, re.MULTILINE))
    own = {name: value.replace("/srv/penstock", str(ROOT)) for name, value in set_there.items()}
    celery = [str(Path(sys.executable).with_name("celery")), "-A", "tasks.worker", "worker"]
    done = subprocess.run(
        [*celery, "--pool=custom", "--help"],
        env=own | {"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert '&& echo /srv/penstock >"$(echo /opt/venv/lib/python3.*/site-packages)/' in text
    assert own["CELERY_CUSTOM_WORKER_POOL"].startswith("penstock.")
    assert done.returncode == 0, done.stderr[-2_000:]
