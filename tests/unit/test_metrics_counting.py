"""Counting and its exposition."""

import asyncio
from functools import partial
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.cancellation import stop
from gateway.telemetry.metrics import BOUNDS_S, Histogram, Metrics, buckets
from tests.support.waiting import eventually


async def exposed(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await metrics.exposition()).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_histogram_counts_each_duration_in_the_bucket_that_holds_it():
    histogram = Histogram()
    for duration_s in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, BOUNDS_S[-1], BOUNDS_S[-1] + 1):
        histogram.observe(duration_s)

    counted = dict(buckets(histogram.counts))
    assert counted[str(BOUNDS_S[0])] == 2
    assert counted[str(BOUNDS_S[1])] == 3
    assert counted[str(BOUNDS_S[-1])] == 4
    assert counted["+Inf"] == 5
    assert abs(histogram.total_s - 2 * BOUNDS_S[-1] - 1 - 2.01 * BOUNDS_S[0]) < 1e-9


async def test_publishes_are_counted_by_outcome_and_only_confirms_have_a_latency():
    metrics = Metrics()
    metrics.observe_publish("confirmed", 0.003)
    metrics.observe_publish("confirmed", 0.3)
    metrics.observe_publish("lost", 9.0)

    found = await exposed(metrics)

    assert found["penstock_publishes_total", (("outcome", "confirmed"),)] == 2
    assert found["penstock_publishes_total", (("outcome", "lost"),)] == 1
    assert found["penstock_confirm_seconds_count", ()] == 2
    assert found["penstock_confirm_seconds_bucket", (("le", "0.005"),)] == 1


async def test_gauges_are_read_when_asked_with_and_without_a_label():
    metrics = Metrics()
    depth = {"default": 1.0}
    metrics.gauge("things", "Things.", lambda: 5)
    metrics.gauge("depth_messages", "Depth.", lambda: depth, label="queue")
    assert (await exposed(metrics))["things", ()] == 5

    depth["other"] = 7

    found = await exposed(metrics)
    assert found["depth_messages", (("queue", "default"),)] == 1
    assert found["depth_messages", (("queue", "other"),)] == 7


async def test_a_new_counter_is_exposed_by_its_label():
    metrics = Metrics()
    sockets = metrics.counter("penstock_sockets_closed", "Sockets closed.", "reason")
    sockets["slow-consumer"] += 2

    assert (await exposed(metrics))[
        "penstock_sockets_closed_total", (("reason", "slow-consumer"),)
    ] == 2


async def test_a_label_with_quotes_and_newlines_does_not_break_the_text():
    metrics = Metrics()
    metrics.refusals['a"b\nc\\'] += 1

    assert (await exposed(metrics))["penstock_refusals_total", (("code", 'a"b\nc\\'),)] == 1


async def test_processes_on_one_port_add_up_and_the_dead_stay_counted(tmp_path: Path):
    first, second = Metrics(tmp_path), Metrics(tmp_path)
    for metrics, number in ((first, 1), (second, 2)):
        metrics.gauge("held", "Held.", partial(float, number))
        metrics.gauge("seen", "Seen by all.", lambda: 7, shared=True)
        metrics.observe_publish("confirmed", 0.003 * number)
    second.observe_publish("lost", 1.0)
    assert second.board is not None
    loop = asyncio.create_task(second.board.looper.run())

    async def added_up() -> bool:
        found = await exposed(first)
        return found["penstock_publishes_total", (("outcome", "confirmed"),)] == 2

    await eventually(added_up)
    found = await exposed(first)
    assert found["penstock_publishes_total", (("outcome", "lost"),)] == 1
    assert found["penstock_confirm_seconds_count", ()] == 2
    assert found["penstock_confirm_seconds_bucket", (("le", "0.005"),)] == 1
    assert (found["held", ()], found["seen", ()]) == (3, 7)

    await stop(loop)
    found = await exposed(first)
    assert found["penstock_publishes_total", (("outcome", "confirmed"),)] == 2
    assert found["held", ()] == 1
