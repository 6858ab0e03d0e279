"""What the gateway counts, for Prometheus.

Counting is adding to a dict: prometheus-client's own counters cost a lock and several calls each,
so its part here is the text format alone. Gauges are read when somebody asks.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.telemetry.metrics_board import Board, Snapshot, add_up

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds of the latency buckets, seconds; above the last: +Inf."""
UNMATCHED = "unmatched"
"""Route label of requests that no route takes; their paths are the clients' to choose."""

Values = Mapping[str, float] | Mapping[tuple[str, str], float]
"""Label value, or the values of two labels → value; the label "" where a metric has none."""


class Histogram:
    """Latencies by bucket."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts: list[float] = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration, seconds."""
        self.counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self.total_s += duration_s


@dataclass(frozen=True, slots=True)
class _Source:
    """A gauge."""

    documentation: str
    labels: tuple[str, ...]
    read: Callable[[], Values | float]
    shared: bool
    total: bool


class Metrics:
    """Counters of one gateway process, and the sources of its gauges.

    Args:
        folder: Where the processes of one port exchange what they counted; None: there is one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._requests: dict[tuple[Any, str, int], int] = {}
        self._durations: dict[Any, Histogram] = {}
        self._gauges: dict[str, _Source] = {}
        self._counters: dict[str, tuple[str, str, defaultdict[str, float]]] = {}
        self._histograms: dict[str, tuple[str, Histogram]] = {}
        self._families_of: list[Callable[[], Iterable[Metric]]] = []
        self.board = Board(folder, self.snapshot) if folder is not None else None
        """Where several processes add up; None: there is one."""
        self.requests_in_flight = 0
        """Requests being handled, streams included."""
        self.publishes = self.counter(
            "penstock_publishes", "Messages published, by how that ended.", "outcome"
        )
        self.refusals = self.counter(
            "penstock_refusals", "Requests refused, by the code of the problem.", "code"
        )
        self.confirm_latency = self.histogram(
            "penstock_confirm_seconds", "From the write of a message to RabbitMQ's confirm."
        )
        self.gauge(
            "penstock_http_requests_in_flight",
            "Requests being handled, streams included.",
            lambda: self.requests_in_flight,
        )

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

    def histogram(self, name: str, documentation: str) -> Histogram:
        """A new histogram of durations, without label.

        Args:
            name: Ends with `_seconds`.
            documentation: One sentence.
        """
        histogram = Histogram()
        self._histograms[name] = (documentation, histogram)
        return histogram

    def gauge(
        self,
        name: str,
        documentation: str,
        read: Callable[[], Values | float],
        *,
        label: str | tuple[str, str] | None = None,
        shared: bool = False,
        total: bool = False,
    ) -> None:
        """Add a gauge that is read at each exposition.

        Args:
            name: With its unit.
            documentation: One sentence.
            read: Gives the number, or with a label a number per value; must not block.
            label: Name of the label; two only where `shared`.
            shared: All processes see the same (a queue's depth); else what they have is added up.
            total: It only grows, and is shown as a counter, with the suffix `_total`. What a
                process that died had of one that is not shared is gone, as at a restart.
        """
        labels = () if label is None else (label,) if isinstance(label, str) else label
        self._gauges[name] = _Source(documentation, labels, read, shared, total)

    def families(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Add what all processes see alike and is made as Prometheus' library has it.

        Args:
            read: Gives the families at each exposition; must not block.
        """
        self._families_of.append(read)

    def snapshot(self) -> Snapshot:
        """What this process counted, and what it has of the gauges that add up."""
        requests: dict[tuple[str, str, int], float] = {}
        for (resource, method, status), count in self._requests.items():
            key = (_template(resource), method, status)
            requests[key] = requests.get(key, 0) + count
        return Snapshot(
            requests=[(*key, count) for key, count in requests.items()],
            durations={
                _template(resource): (list(one.counts), one.total_s)
                for resource, one in self._durations.items()
            },
            counters={name: dict(values) for name, (_, _, values) in self._counters.items()},
            histograms={
                name: (list(one.counts), one.total_s) for name, (_, one) in self._histograms.items()
            },
            gauges={
                name: {str(value): number for value, number in _read(one).items()}
                for name, one in self._gauges.items()
                if not one.shared
            },
        )

    async def exposition(self) -> bytes:
        """Everything in Prometheus' text format 0.0.4, of all processes on this port."""
        others = await self.board.others() if self.board is not None else []
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(self._families(add_up([self.snapshot(), *others]))))
        if self.board is None:
            ProcessCollector(registry=registry)  # memory, CPU, open files of this process
        return generate_latest(registry)

    def _families(self, found: Snapshot) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "penstock_http_requests", "Requests answered.", labels=("route", "method", "status")
        )
        for route, method, status, count in found.requests:
            requests.add_metric((route, method, str(status)), count)
        yield requests
        durations = HistogramMetricFamily(
            "penstock_http_request_seconds",
            "From the request's headers to the end of the answer, waiting included.",
            labels=("route",),
        )
        for route, (counts, total_s) in found.durations.items():
            durations.add_metric((route,), buckets(counts), total_s)
        yield durations
        for name, (documentation, label, _) in self._counters.items():
            counter = CounterMetricFamily(name, documentation, labels=(label,))
            for value, count in found.counters.get(name, {}).items():
                counter.add_metric((value,), count)
            yield counter
        for name, (documentation, _) in self._histograms.items():
            counts, total_s = found.histograms[name]
            histogram = HistogramMetricFamily(name, documentation)
            histogram.add_metric((), buckets(counts), total_s)
            yield histogram
        for name, source in self._gauges.items():
            values = _read(source) if source.shared else found.gauges.get(name, {})
            kind = CounterMetricFamily if source.total else GaugeMetricFamily
            gauge = kind(name, source.documentation, labels=source.labels)
            for value, number in values.items():
                labels = value if isinstance(value, tuple) else (value,)
                gauge.add_metric(labels if source.labels else (), number)
            yield gauge
        for families in self._families_of:
            yield from families()


class _Families(Collector):
    """What the registry asks."""

    def __init__(self, families: Iterator[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families


def buckets(counts: Sequence[float], bounds: Sequence[float] = BOUNDS_S) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus has them."""
    names = [*(str(bound) for bound in bounds), "+Inf"]
    cumulated, found = 0.0, []
    for bound, count in zip(names, counts, strict=True):
        cumulated += count
        found.append((bound, cumulated))
    return found


def _template(resource: Any) -> str:
    return UNMATCHED if resource is None else str(resource.canonical)


def _read(source: _Source) -> Mapping[Any, float]:
    value = source.read()
    return {**value} if isinstance(value, Mapping) else {"": value}
