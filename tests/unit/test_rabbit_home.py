"""The plugins that a node of RabbitMQ has on its code path."""

from pathlib import Path

import pytest

from devstack.rabbit_home import make_home


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The start script of an installation, behind a link as a package makes it."""
    home = tmp_path / "rabbitmq_server-1"
    needs = {
        "rabbit": "kernel, rabbit_common, ra",
        "rabbit_common": "stdlib",
        "rabbitmq_prelaunch": "kernel,\n   rabbit_common",
        "ra": "kernel",
        "wanted": "rabbit,web",
        "web": "'rabbit_common'",
        "unwanted": "rabbit",
    }
    for name, applications in needs.items():
        folder = home / "plugins" / f"{name}-1.0" / "ebin"
        folder.mkdir(parents=True)
        text = f"{{application, {name},\n [{{applications, [{applications}]}}]}}."
        (folder / f"{name}.app").write_text(text, encoding="utf-8")
    (home / "sbin").mkdir()
    (home / "escript").mkdir()
    (home / "sbin" / "rabbitmq-server").write_text("#!/bin/sh\n", encoding="utf-8")
    link = tmp_path / "rabbitmq-server"
    link.symlink_to(home / "sbin" / "rabbitmq-server")
    return link


def test_what_is_enabled_and_what_that_needs(script: Path, tmp_path: Path):
    folder = tmp_path / "home"
    for _ in range(2):  # it is made anew
        make_home(script, ["wanted"], folder)
    names = {one.name.partition("-")[0] for one in (folder / "plugins").iterdir()}
    assert names == {"rabbit", "rabbit_common", "rabbitmq_prelaunch", "ra", "wanted", "web"}
    assert all((one / "ebin").is_dir() for one in (folder / "plugins").iterdir())
    assert not (folder / "sbin" / "rabbitmq-server").is_symlink()
    assert (folder / "escript").is_dir()


def test_another_kind_of_installation_is_used_as_it_is(script: Path, tmp_path: Path):
    folder = tmp_path / "home"
    make_home(script, ["an_archive"], folder)
    assert (folder / "sbin" / "rabbitmq-server").resolve() == script.resolve()
