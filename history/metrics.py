"""The metrics of the process, read when they are asked for."""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Read = Callable[[], float | dict[str, float]]


class Metrics:
    """Gauges and counters that others keep; a collector of one registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._reads: list[tuple[type[Any], str, str, Read, str]] = []
        self._registry.register(self)

    def gauge(self, name: str, documentation: str, read: Read, label: str = "") -> None:
        """Add a gauge.

        Args:
            name: with its unit.
            documentation: one sentence.
            read: its value, or values by label.
            label: the name of the label; empty: there is none.
        """
        self._reads.append((GaugeMetricFamily, name, documentation, read, label))

    def counter(self, name: str, documentation: str, read: Read, label: str = "") -> None:
        """Add a counter, alike; its name gets `_total`."""
        self._reads.append((CounterMetricFamily, name, documentation, read, label))

    def collect(self) -> Iterable[Any]:
        """Read everything, as prometheus_client asks for it."""
        for kind, name, documentation, read, label in self._reads:
            value = read()
            family = kind(name, documentation, labels=[label] if label else [])
            if isinstance(value, dict):
                for key, one in value.items():
                    family.add_metric([key], one)
            else:
                family.add_metric([], value)
            yield family

    def exposition(self) -> bytes:
        """Return all in Prometheus' text format."""
        return generate_latest(self._registry)
