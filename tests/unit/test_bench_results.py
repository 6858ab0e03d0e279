"""Result files, tables, charts and what wrk printed."""

import xml.etree.ElementTree as ET

import pytest

from bench import measured, results, table, worker_tables, workers
from bench.contestants import BARE, FULL, GATEWAY
from bench.draining import Sample as Drained
from bench.figures import Figure
from bench.goals import Goal, submit_goals
from bench.rounds import Sample
from bench.wrk import parse
from devstack import chart
from devstack.errors import StartError


def sample(rate: float, cpu_us: float) -> Sample:
    return Sample(
        rate=rate, cpu_us=cpu_us, broker_us=60, p50_ms=1, p99_ms=2, requests=9, failed=0, queued=9
    )


SAMPLES = {
    "bare": [sample(20_000, 50), sample(10_000, 60)],
    "gateway": [sample(12_000, 80), sample(6_000, 90)],
}


def test_what_was_measured_is_read_back_from_its_file(tmp_path):
    path = results.save("quick", {"submits": SAMPLES}, {"rounds": 2}, tmp_path)

    found = results.latest("quick", tmp_path)

    assert found is not None
    assert path.name.endswith("-quick.json")
    assert found["submits"]["gateway"][0]["rate"] == 12_000
    assert found["machine"]["processors"] >= 1


def test_a_saved_drill_is_told_in_the_table(tmp_path):
    drill = {
        "rabbitmq": "9.8.7", "minutes": 30.0, "faults": 61, "kinds": 25, "processors_busy": 0.9,
        "counts": {"tasks accepted": 1234, "executions": 9, "executions repeated": 2},
        "must_be_0": {"task lost": 3, "started too early": 4},
        "recovery": [
            {"seconds": 2.0, "allowed_s": 15.0}, {"seconds": None, "allowed_s": 15.0},
            {"seconds": 20.0, "allowed_s": 15.0},
        ],
        "gateway_rss_mib": {"a": {"first quarter": 70.0, "last quarter": 71.0}},
    }  # fmt: skip
    results.save("drill-rabbitmq-9.8.7", {"goals": [], "drill": drill}, {}, tmp_path)

    told = measured.drilled(measured.documents(tmp_path))

    for line in (
        "| RabbitMQ 9.8.7 |", "| 30, 61, 25 |", "| tasks accepted | 1,234 |", "| 2 of 9 |",
        "| tasks or documents lost | 3 |", "| anything else that must not be | 4 |",
        "| 1 of 3; half within 2.0 s |", "| 70 → 71 MiB |",
    ):  # fmt: skip
        assert line in told


def test_there_is_no_latest_run_in_an_empty_folder(tmp_path):
    assert results.latest("quick", tmp_path) is None


def test_the_newest_file_of_a_kind_of_run_is_the_latest(tmp_path):
    (tmp_path / "2026-01-02-quick.json").write_text('{"run": "old"}')
    (tmp_path / "2026-01-10-quick.json").write_text('{"run": "new"}')
    (tmp_path / "2026-02-01-full.json").write_text('{"run": "other"}')

    assert results.latest("quick", tmp_path) == {"run": "new"}


def test_goals_are_ratios_within_a_run():
    above, rate = submit_goals(SAMPLES)

    assert above.measured == Figure(30, 30, 30)
    assert above.reached is True
    assert rate.measured == Figure(0.6, 0.6, 0.6)
    assert rate.reached is True


def test_the_goals_of_workers_are_of_the_contestants_that_were_measured():
    samples = {
        "asyncio": [Drained(rate=5000, cpu_us=100), Drained(rate=4000, cpu_us=120)],
        "stock-threads": [Drained(rate=500, cpu_us=1500), Drained(rate=400, cpu_us=1320)],
        "stock-prefork-defaults": [Drained(rate=400, cpu_us=1400), Drained(rate=320, cpu_us=1400)],
    }

    cheaper, cost, faster = workers.goals(samples)

    assert cheaper.measured == Figure(13, 11, 15)
    assert (cost.measured, cost.reached) == (Figure(110, 100, 120), True)
    assert faster.measured == Figure(12.5, 12.5, 12.5)


def test_workers_are_started_as_their_contest_says():
    quiet, told = workers.POOLS["asyncio"], workers.POOLS["stock-threads-all"]

    assert {"--pool=custom", "--concurrency=1000", "--loglevel=warning"} <= {*quiet.options}
    assert "--task-events" not in quiet.options
    assert quiet.env["CELERY_CUSTOM_WORKER_POOL"].endswith(":TaskPool")
    assert {"--pool=threads", "--loglevel=info", "--task-events"} <= {*told.options}
    assert "CELERY_CUSTOM_WORKER_POOL" not in told.env


def test_a_goal_that_is_not_reached_says_so():
    slow = Goal(what="x", least=0.5, aim=0.6, unit="×", measured=Figure(0.49, 0.4, 0.6))
    heavy = Goal(what="x", most=35, aim=25, unit="µs", measured=Figure(36, 30, 40))
    unknown = Goal(what="x", least=1, aim=1, unit="×")

    assert (slow.reached, heavy.reached, unknown.reached) == (False, False, None)
    assert "MISSED" in table.scoreboard([slow])


def test_the_table_has_a_line_per_contestant_with_its_spread():
    text = table.submits((BARE, GATEWAY), SAMPLES)

    assert "9,000 (6,000–12,000)" in text
    assert "publishes nothing" in text
    assert len(text.splitlines()) == 4


def test_contestants_have_names_of_their_own():
    assert len({one.name for one in FULL}) == len(FULL)


@pytest.mark.parametrize(
    "svg",
    [
        chart.bars("a < b", "note & note", [chart.Bar("x & y", Figure(2, 1, 3), ours=True)]),
        chart.lines(
            "t", "n", "connections",
            [chart.Line("a", [(16, Figure(1, 1, 1)), (1024, Figure(2, 1, 3))])],
        ),
        chart.lines("t", "n", "x", [chart.Line("a", [(16, Figure(1, 1, 1))])]),
        chart.over_time("t", "n", []),
        chart.over_time(
            "t", "n", [chart.Panel("a/s", [("x < y", [(0, 1)])]), chart.Panel("MiB", [])],
            [chart.Band("kill & cut", 0, 0.5)],
        ),
    ],
)  # fmt: skip
def test_a_chart_is_well_formed(svg):
    assert ET.fromstring(svg).tag.endswith("svg")


def test_what_wrk_printed_becomes_an_outcome():
    outcome = parse(
        "Running 5s test\n"
        'OUTCOME {"requests":1000,"duration_us":2000000,"status_errors":90,'
        '"socket_errors":10,"p50_us":1500,"p99_us":20000}\n'
    )

    assert outcome.rate == 450
    assert (outcome.failed, outcome.p50_ms, outcome.p99_ms) == (100, 1.5, 20)


def test_a_failure_of_wrk_is_told_with_its_words():
    with pytest.raises(StartError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_an_axis_ends_at_a_round_number_above_the_highest_value():
    svg = chart.over_time("t", "n", [chart.Panel("", [("a", [(0.0, 1.0), (4.0, 73.0)])])])

    assert ">80</text>" in svg
    assert ">20</text>" in svg


def test_workers_have_a_line_each_in_their_table_and_ours_stand_out():
    taken = {
        "stock-threads": [{"rate": 500.0, "cpu_us": 1500.0}, {"rate": 300.0, "cpu_us": 1700.0}],
        "asyncio": [{"rate": 5000.0, "cpu_us": 100.0}, {"rate": 4000.0, "cpu_us": 110.0}],
    }

    lines = worker_tables.TABLES["workers"](taken).splitlines()

    assert "medians of 2 rounds" in lines[0]
    assert lines[2:] == [
        f"| **{workers.POOLS['asyncio'].title}** | 4,500 | 105 |",
        f"| {workers.POOLS['stock-threads'].title} | 400 | 1,600 |",
    ]
