"""What one gateway process counts, for Prometheus.

Counting is adding to a dict: prometheus-client's own counters cost a lock and several calls each,
so its part here is the exposition alone. Gauges are read when somebody asks.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds of the latency buckets, seconds; above the last: +Inf."""
UNMATCHED = "unmatched"
"""Route label of requests that no route takes; their paths are the clients' to choose."""

Values = Mapping[str, float]
"""Label value → value; the label "" where a metric has none."""


class Histogram:
    """Latencies by bucket."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration, seconds."""
        self.counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self.total_s += duration_s

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus has them."""
        bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
        cumulated, buckets = 0, []
        for bound, count in zip(bounds, self.counts, strict=True):
            cumulated += count
            buckets.append((bound, float(cumulated)))
        return buckets


@dataclass(frozen=True, slots=True)
class _Source:
    """A metric that is read, not counted here."""

    name: str
    documentation: str
    label: str | None
    read: Callable[[], Values | float]


class Metrics:
    """Counters of one gateway process, and the sources of its gauges."""

    def __init__(self) -> None:
        self._requests: dict[tuple[Any, str, int], int] = {}
        self._durations: dict[Any, Histogram] = {}
        self._gauges: list[_Source] = []
        self._counters: dict[str, tuple[str, str, defaultdict[str, float]]] = {}
        self._started_at = time.time()
        self.requests_in_flight = 0
        """Requests being handled, streams included."""
        self.publishes = self.counter(
            "penstock_publishes", "Messages published, by how that ended.", "outcome"
        )
        self.refusals = self.counter(
            "penstock_refusals", "Requests refused, by the code of the problem.", "code"
        )
        self.confirm_latency = Histogram()
        """From the write of a message to its confirm."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Exposition(self))
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def observe_request(self, request: web.Request, status: int, duration_s: float) -> None:
        """Count one answered request by route template, method and status."""
        resource = request.match_info.route.resource
        key = (resource, request.method, status)
        try:
            self._requests[key] += 1
            self._durations[resource].observe(duration_s)
        except KeyError:
            if resource is None and request.method not in hdrs.METH_ALL:
                key = (None, "other", status)
            self._requests[key] = self._requests.get(key, 0) + 1
            self._durations.setdefault(resource, Histogram()).observe(duration_s)

    def observe_publish(self, outcome: str, latency_s: float) -> None:
        """Count the end of one message: `confirmed`, `returned`, `refused`, `lost`, `timeout`."""
        self.publishes[outcome] += 1
        if outcome == "confirmed":
            self.confirm_latency.observe(latency_s)

    def counter(self, name: str, documentation: str, label: str) -> defaultdict[str, float]:
        """A new counter by one label: add to the values of what this returns.

        Args:
            name: Without the suffix `_total`.
            documentation: One sentence.
            label: Name of the label; its values must be few.
        """
        values: defaultdict[str, float] = defaultdict(float)
        self._counters[name] = (documentation, label, values)
        return values

    def gauge(
        self,
        name: str,
        documentation: str,
        read: Callable[[], Values | float],
        *,
        label: str | None = None,
    ) -> None:
        """Add a gauge that is read at each exposition.

        Args:
            name: With its unit.
            documentation: One sentence.
            read: Gives the number, or with a label a number per value; must not block.
            label: Name of the label.
        """
        self._gauges.append(_Source(name, documentation, label, read))

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)

    def families(self) -> Iterator[Metric]:
        """Everything as metric families."""
        yield from self._request_families()
        for name, (documentation, label, values) in self._counters.items():
            counter = CounterMetricFamily(name, documentation, labels=(label,))
            for value, count in values.items():
                counter.add_metric((value,), count)
            yield counter
        confirms = HistogramMetricFamily(
            "penstock_confirm_seconds", "From the write of a message to RabbitMQ's confirm."
        )
        latency = self.confirm_latency
        confirms.add_metric((), latency.buckets(), latency.total_s)
        yield confirms
        for source in self._gauges:
            yield _gauge_family(source)
        yield GaugeMetricFamily(
            "penstock_start_time_seconds", "When this process started.", self._started_at
        )

    def _request_families(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "penstock_http_requests",
            "Requests answered.",
            labels=("route", "method", "status"),
        )
        for (resource, method, status), count in self._requests.items():
            requests.add_metric((_template(resource), method, str(status)), count)
        yield requests
        durations = HistogramMetricFamily(
            "penstock_http_request_seconds",
            "From the request's headers to the end of the answer, waiting included.",
            labels=("route",),
        )
        for resource, histogram in self._durations.items():
            durations.add_metric((_template(resource),), histogram.buckets(), histogram.total_s)
        yield durations
        yield GaugeMetricFamily(
            "penstock_http_requests_in_flight",
            "Requests being handled, streams included.",
            self.requests_in_flight,
        )


class _Exposition(Collector):
    """What the registry asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.families()


def _template(resource: Any) -> str:
    return UNMATCHED if resource is None else str(resource.canonical)


def _gauge_family(source: _Source) -> Metric:
    value = source.read()
    if not isinstance(value, Mapping):
        return GaugeMetricFamily(source.name, source.documentation, value)
    family = GaugeMetricFamily(source.name, source.documentation, labels=(source.label or "",))
    for label, number in value.items():
        family.add_metric((label,), number)
    return family
