"""The README and docs say what is there."""

import re
from pathlib import Path

import pytest

from bench import measured
from devstack.tree import PAGE, ROOT, rewrite

SETTINGS = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_tree_is_the_tree():
    text = PAGE.read_text(encoding="utf-8")

    assert rewrite(text) == text, "run `make tree`"


def test_the_figures_are_those_of_the_result_files():
    text = measured.PERFORMANCE.read_text(encoding="utf-8")

    assert measured.rewrite(text) == text, "run `python -m bench.measured`"


@pytest.mark.parametrize("source", ["gateway/config.py", "history/config.py", "tasks/config.py"])
def test_every_setting_is_explained(source: str):
    names = set(re.findall(r'"([A-Z][A-Z_]{4,})"', (ROOT / source).read_text(encoding="utf-8")))

    missing = {name for name in names if f"`{name}`" not in SETTINGS}
    assert not missing


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as they stand in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    for target in targets:
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        other = page.parent / path if path else page

        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def test_each_page_is_reached_from_the_readme():
    text = PAGES[0].read_text(encoding="utf-8")

    assert {page.name for page in PAGES[1:]} <= set(re.findall(r"\]\(docs/([^)#]+)", text))


def test_the_readme_is_read_in_one_sitting():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 250


def test_the_walks_visit_files_that_exist():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|lua|toml))`", text))
    known = {path.relative_to(ROOT).as_posix() for path in tracked(ROOT)}
    strangers = {name for name in named if not any(f"/{one}".endswith(f"/{name}") for one in known)}

    assert len(named) > 30
    assert not strangers


def tracked(folder: Path) -> list[Path]:
    suffixes = {".py", ".lua", ".toml"}
    places = ("gateway", "penstock", "topology", "tasks", "history", "tests")
    return [
        path for place in places for path in (folder / place).rglob("*") if path.suffix in suffixes
    ]
