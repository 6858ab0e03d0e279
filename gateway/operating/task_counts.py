"""What workers count of tasks, read from Redis; and the ends that this gateway records, added."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from gateway.telemetry.metrics import buckets
from penstock.looper import Looper
from penstock.wire.task_counts import (
    COUNTS_KEY,
    ENDED,
    FLUSH_S,
    MAX_NAMES,
    OTHER,
    RUN_BOUNDS_S,
    WAIT_BOUNDS_S,
    TaskCounts,
    Times,
    decode_counts,
    field_of,
)


class CountedTasks:
    """The counts of all workers and gateways, a few seconds old.

    Args:
        redis: Where all add up.
        is_known: Whether workers have a task of this name; others are counted as one.
    """

    def __init__(self, redis: RedisClient, is_known: Callable[[str], bool]) -> None:
        self._redis = redis
        self._is_known = is_known
        self._own: Counter[tuple[str, str]] = Counter()
        self._added: Counter[tuple[str, str]] = Counter()
        self.counts = TaskCounts()
        """As read last."""
        self.looper = Looper(
            "task-counts", self._turn, interval_s=FLUSH_S, expected=(RedisAwayError,)
        )
        """Adds and reads."""

    def __repr__(self) -> str:
        """Count the tasks."""
        return f"<CountedTasks {len(self.counts.run)} tasks>"

    def ended(self, task: str | None, state: str) -> None:
        """Count an end that no worker saw: it expired, was purged or dead-lettered.

        Args:
            task: What its message calls it; None: that is lost.
            state: FAILURE or REVOKED.
        """
        names = {name for name, _ in (*self.counts.ended, *self._own)}
        known = task in names or (
            task is not None and len(names) < MAX_NAMES and self._is_known(task)
        )
        self._own[task if known and task is not None else OTHER, state] += 1

    async def _turn(self) -> None:
        """Add what is new, and read all.

        Raises:
            RedisAwayError: What was not added is added the next time.
        """
        own = Counter(self._own)
        async with self._redis.pipeline() as pipe:
            for (task, state), number in (own - self._added).items():
                pipe.hincrby(COUNTS_KEY, field_of((ENDED, state, task)), number)
            pipe.hgetall(COUNTS_KEY)
            *_, found = await pipe.execute()
        self._added = own
        self.counts = decode_counts(found)

    def families(self) -> Iterator[Metric]:
        """Yield what /metrics shows."""
        counts = self.counts
        ended = CounterMetricFamily(
            "penstock_tasks_ended",
            "Tasks that ended, by the state they ended in.",
            labels=("task", "state"),
        )
        for (task, state), number in counts.ended.items():
            ended.add_metric((task, state), number)
        yield ended
        yield _counter("penstock_task_retries", "Attempts published again.", "task", counts.retried)
        yield _histogram(
            "penstock_task_run_seconds",
            "How long executions took.",
            ("task", RUN_BOUNDS_S, counts.run),
        )
        yield _histogram(
            "penstock_task_wait_seconds",
            "From when a task was published, or due, to its start.",
            ("queue", WAIT_BOUNDS_S, counts.wait),
        )
        yield _counter(
            "penstock_documents",
            "Documents of batches, by what became of them.",
            "outcome",
            counts.documents,
        )


def _counter(
    name: str, documentation: str, label: str, values: Mapping[str, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family


def _histogram(
    name: str, documentation: str, series: tuple[str, Sequence[float], Mapping[str, Times]]
) -> HistogramMetricFamily:
    label, bounds, values = series
    family = HistogramMetricFamily(name, documentation, labels=(label,))
    for value, times in values.items():
        family.add_metric((value,), buckets(times.counts, bounds), times.total_s)
    return family
