"""docs/capacity.md against the unit costs that were measured, and its arithmetic."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "capacity.md").read_text()
PER_S = 1_000_000 / 60
BUSY = 0.6


def newest(part: str) -> dict[str, Any]:
    path = max((ROOT / "bench" / "results").glob(f"????-??-??-{part}.json"))
    found: dict[str, Any] = json.loads(path.read_text())[part]
    return found


def of(rounds: Any, *names: str) -> float:
    def value(one: Any) -> float:
        for name in names:
            one = one[name]
        return float(one)

    return median(value(one) for one in rounds)


def cell(row: str) -> str:
    found = re.findall(rf"^\| {re.escape(row)} \| ([^|]*) \|", PAGE, re.MULTILINE)[0]
    return str(found)


def number(row: str) -> float:
    return float(re.sub(r"[^\d.]", "", cell(row).split()[0]))


THERE = "there-and-back"


@pytest.mark.parametrize(
    ("row", "measured"),
    [
        ("submit, gateway", lambda: of(newest("submits")["gateway"], "cpu_us")),
        ("submit, RabbitMQ", lambda: of(newest("submits")["gateway"], "broker_us")),
        (
            "task from HTTP to its end at the client, gateway",
            lambda: of(newest(THERE)["penstock"], "cpu_us", "HTTP server"),
        ),
        (
            "the same, worker on the asyncio pool",
            lambda: of(newest(THERE)["penstock"], "cpu_us", "worker"),
        ),
        ("the same, RabbitMQ", lambda: of(newest(THERE)["penstock"], "cpu_us", "RabbitMQ")),
        ("the same, Redis", lambda: of(newest(THERE)["penstock"], "cpu_us", "Redis")),
        ("change told to a socket, gateway", lambda: of(newest("sockets"), "gateway_us")),
        (
            "socket, memory of its gateway",
            lambda: of(newest("sockets"), "rss_kib_a_socket") * 1.024,
        ),
        ("document of NDJSON, gateway", lambda: of(newest("ingest"), "gateway_us")),
        (
            "documents through gateway, RabbitMQ and worker into MongoDB, two processors for all",
            lambda: of(newest("ingest"), "rate"),
        ),
    ],
)
def test_a_unit_costs_what_was_measured(row: str, measured: Callable[[], float]):
    shown = number(row)

    assert math.isclose(shown, measured(), rel_tol=0.02), measured()


def test_what_is_needed_follows_from_the_units():
    def processes(unit_us: float) -> int:
        return math.ceil(PER_S * unit_us / 1e6 / BUSY)

    whole = number("task from HTTP to its end at the client, gateway")
    asyncio_us = number("the same, worker on the asyncio pool")
    redis_us = number("the same, Redis")
    kept, mark = 570, 206
    day, week = 86_400, 7 * 86_400
    documents = 10e9

    assert number("gateways") == processes(whole)
    assert number("workers, asyncio pool") == processes(asyncio_us)
    assert number("workers, prefork") == processes(number("task, worker on prefork"))
    assert number("RabbitMQ") == processes(number("the same, RabbitMQ"))
    assert f"{PER_S * redis_us / 1e6:.1f} of the one" in cell("Redis, processor")
    memory = PER_S * (kept * day + mark * (day + week))
    assert cell("Redis, memory, results kept for a day") == f"{memory / 1e12:.1f} TB"
    assert f"still {PER_S * (kept * 3600 + mark * (3600 + week)) / 1e12:.1f} TB" in PAGE
    assert f"| {round(64e9 / (memory / PER_S), -1):.0f} tasks/s with 64 GB |" in PAGE
    assert f"| {round(BUSY * 1e6 / redis_us, -3):,.0f} tasks/s (60 %)" in PAGE
    socket_kb = number("socket, memory of its gateway")
    assert f"{socket_kb * 10:.0f} MB" in PAGE
    assert f"{socket_kb:.1f} GB in all" in PAGE
    told = number("change told to a socket, gateway")
    assert f"| {processes(told)} processes' worth" in PAGE
    hours = documents * number("document of NDJSON, gateway") / 1e6 / 3600
    assert f"| {hours:.1f} processor hours |" in PAGE
    rate = of(newest("ingest"), "rate")
    assert f"| {documents / rate / 3600:.0f} hours |" in PAGE
    assert f"{(49 + 37) * documents / 1e12:.2f} TB, {(66 + 46) * documents / 1e12:.2f} TB" in PAGE
    assert f"{round(32e9 / 46e6, -2):.0f} million documents" in PAGE
