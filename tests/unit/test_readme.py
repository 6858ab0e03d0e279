"""The README says what is there."""

import re
from pathlib import Path

import pytest

from bench import measured
from devstack.tree import ARCHITECTURE, ROOT, rewrite

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = ARCHITECTURE.read_text(encoding="utf-8")


def test_the_tree_is_the_tree():
    assert rewrite(TREE) == TREE, "run `make tree`"


def test_the_figures_are_those_of_the_result_files():
    assert measured.rewrite(TEXT) == TEXT, "run `python -m bench.measured`"


@pytest.mark.parametrize("source", ["gateway/config.py", "tasks/config.py"])
def test_every_setting_is_explained(source: str):
    names = set(re.findall(r'"([A-Z][A-Z_]{4,})"', (ROOT / source).read_text(encoding="utf-8")))

    missing = {name for name in names if f"`{name}`" not in TEXT}
    assert not missing


def test_every_link_leads_somewhere():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in target]

    assert targets
    assert all(Path(ROOT / target).exists() for target in targets)
