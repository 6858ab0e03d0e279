"""Each problem has its alert, its unit test and its page, and what pages name exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app import make_app
from gateway.operating.problems import AFTER_S, RUNBOOK, Finding, Known
from tests.deployment.gateway import NOWHERE

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
PAGES = dict(
    re.findall(
        r"^## (\S+)\n(.*?)(?=^## |\Z)", (ROOT / RUNBOOK).read_text(), re.MULTILINE | re.DOTALL
    )
)
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "penstock.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]


def codes(expression: str) -> list[str]:
    return re.findall(r'code="([^"]+)"', expression)


@pytest.mark.parametrize("code", AFTER_S)
def test_a_problem_has_a_page_and_an_alert_which_name_each_other(code: str):
    alerts = [rule for rule in RULES if codes(rule["expr"]) == [code]]
    finding = Finding(code=code, subject="s", detail="d", advice="do it")
    known = Known(finding=finding, since=0, seen=0)

    assert known.advice == f"do it (docs/runbook.md#{code})"
    assert len(alerts) == 1, alerts
    assert alerts[0]["annotations"]["runbook"] == f"{RUNBOOK}#{code}"


@pytest.mark.parametrize("anchor", PAGES)
def test_a_page_says_what_it_means_how_to_see_it_what_to_do_and_by_which_command(anchor: str):
    page = PAGES[anchor]

    assert re.findall(r"\*\*(Means|See|Do)\.\*\*", page) == ["Means", "See", "Do"]
    assert "```bash\n" in page
    assert any(rule["annotations"]["runbook"] == f"{RUNBOOK}#{anchor}" for rule in RULES)


def test_every_alert_has_a_page_and_a_unit_test_in_which_it_fires_and_one_in_which_not():
    tests = yaml.safe_load((PROMETHEUS / "penstock.rules.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]

    for rule in RULES:
        assert rule["annotations"]["runbook"].removeprefix(f"{RUNBOOK}#") in PAGES
        fires = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == rule["alert"]}
        assert fires == {True, False}, rule["alert"]
    assert {case["alertname"] for case in cases} == {rule["alert"] for rule in RULES}


def test_paths_and_links_of_the_pages_exist(routes: set[str]):
    text = (ROOT / RUNBOOK).read_text()
    asked = re.findall(r"(?:get|post) '?(/[^\s'?`]+)", text)
    asked += re.findall(r"\$GATEWAY_URL(/[^\s\"?]+)", text)
    known = re.compile("|".join(re.sub(r"\{\w+\}", "[^/]+", route) for route in routes))

    assert len(asked) > 15
    assert [path for path in asked if not known.fullmatch(path)] == []
    for file, anchor in re.findall(r"\]\(([\w.-]*)(?:#([\w-]+))?\)", text):
        place = ROOT / "docs" / file if file else ROOT / RUNBOOK
        headings = re.findall(r"^#+ (.+)$", place.read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings}
        assert not anchor or anchor in anchors, (file, anchor)


@pytest.fixture(scope="module")
def routes() -> set[str]:
    return {
        route.resource.canonical
        for route in make_app(NOWHERE).router.routes()
        if route.resource is not None
    }
