"""The Lua scripts: each file is called by somebody, each call has its file, and Redis takes all."""

import re
from pathlib import Path

import pytest

from penstock.wire.records import FINAL
from penstock.wire.scripts import script

ROOT = Path(__file__).parent.parent.parent
LUA = ROOT / "penstock/wire/lua"
NAMES = sorted(path.stem for path in LUA.glob("*.lua"))


def text_of(*packages: str) -> str:
    return "".join(
        path.read_text(encoding="utf-8")
        for package in packages
        for path in (ROOT / package).rglob("*.py")
    )


def test_every_script_is_called_and_every_called_script_exists():
    text = text_of("gateway", "history", "penstock/worker")
    called = re.findall(r'script\(\s*"(\w+)"[,)]', text)

    assert sorted(set(called)) == NAMES


def test_lua_stands_in_its_files_alone():
    assert "redis.call" not in text_of("gateway", "penstock", "tasks")


@pytest.mark.parametrize("name", NAMES)
def test_a_script_says_what_it_is_for_and_has_its_includes_and_constants(name: str):
    text = script(name).text
    source = (LUA / f"{name}.lua").read_text(encoding="utf-8")

    assert re.match(r"-- [A-Z].*", source)
    assert "-- KEYS: " in source
    assert "-- Answer: " in source
    assert "--- include" not in text
    code = re.sub(r"--.*|'[^']*'", "", text)
    states = {f"{state} = true" for state in FINAL}
    assert set(re.findall(r"\b[A-Z][A-Z_]{3,}\b(?: = true)?", code)) <= states | {"KEYS", "ARGV"}
