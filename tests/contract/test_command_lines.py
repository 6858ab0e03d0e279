"""`--help` explains, `--version` tells, and what is not understood is an error: nothing starts."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.__main__ import check_arguments as devstack
from gateway.command_line import check_arguments as gateway
from gateway.command_line import variables
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

    assert {"AMQP_URL", "GATEWAY_PORT", "CALLBACK_SECRET", "TOPOLOGY_FILE"} <= names
    assert {
        name for name in names if f"`{name}" not in SETTINGS and f"{name}`" not in SETTINGS
    } <= {f"{name}_FILE" for name in names}


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    assert project["project"]["version"] == VERSION
