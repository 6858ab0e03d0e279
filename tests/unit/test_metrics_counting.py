"""Counting and its exposition."""

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import BOUNDS_S, Histogram, Metrics


def exposed(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.exposition().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_histogram_counts_each_duration_in_the_bucket_that_holds_it():
    histogram = Histogram()
    for duration_s in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, BOUNDS_S[-1], BOUNDS_S[-1] + 1):
        histogram.observe(duration_s)

    buckets = dict(histogram.buckets())
    assert buckets[str(BOUNDS_S[0])] == 2
    assert buckets[str(BOUNDS_S[1])] == 3
    assert buckets[str(BOUNDS_S[-1])] == 4
    assert buckets["+Inf"] == 5
    assert abs(histogram.total_s - 2 * BOUNDS_S[-1] - 1 - 2.01 * BOUNDS_S[0]) < 1e-9


def test_publishes_are_counted_by_outcome_and_only_confirms_have_a_latency():
    metrics = Metrics()
    metrics.observe_publish("confirmed", 0.003)
    metrics.observe_publish("confirmed", 0.3)
    metrics.observe_publish("lost", 9.0)

    found = exposed(metrics)

    assert found["penstock_publishes_total", (("outcome", "confirmed"),)] == 2
    assert found["penstock_publishes_total", (("outcome", "lost"),)] == 1
    assert found["penstock_confirm_seconds_count", ()] == 2
    assert found["penstock_confirm_seconds_bucket", (("le", "0.005"),)] == 1


def test_gauges_are_read_when_asked_with_and_without_a_label():
    metrics = Metrics()
    depth = {"default": 1.0}
    metrics.gauge("things", "Things.", lambda: 5)
    metrics.gauge("depth_messages", "Depth.", lambda: depth, label="queue")
    assert exposed(metrics)["things", ()] == 5

    depth["other"] = 7

    found = exposed(metrics)
    assert found["depth_messages", (("queue", "default"),)] == 1
    assert found["depth_messages", (("queue", "other"),)] == 7


def test_a_new_counter_is_exposed_by_its_label():
    metrics = Metrics()
    sockets = metrics.counter("penstock_sockets_closed", "Sockets closed.", "reason")
    sockets["slow-consumer"] += 2

    assert exposed(metrics)["penstock_sockets_closed_total", (("reason", "slow-consumer"),)] == 2


def test_a_label_with_quotes_and_newlines_does_not_break_the_text():
    metrics = Metrics()
    metrics.refusals['a"b\nc\\'] += 1

    assert exposed(metrics)["penstock_refusals_total", (("code", 'a"b\nc\\'),)] == 1
