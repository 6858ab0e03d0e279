"""What the parts of a gateway show on /metrics besides what is counted per request."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from gateway.operating.problems import Known
from gateway.rabbitmq.management import QueueFigures
from gateway.rabbitmq.parts import Broker
from gateway.submitting.accepted import Accepted
from gateway.submitting.catalog import Catalog
from gateway.telemetry.metrics import Metrics
from penstock.looper import Loops
from penstock.wire.delay import LEVELS, level_name
from penstock.wire.names import DEAD_SUFFIX
from topology.model import Topology


class Streams(Protocol):
    """The open streams."""

    @property
    def open(self) -> dict[str, float]:
        """How many there are, by kind."""


class Notices(Protocol):
    """The tasks that are watched."""

    listeners: int

    def __len__(self) -> int:
        """How many there are."""


class Flow(Protocol):
    """How a queue moves."""

    def oldest_s(self, now: float) -> float | None:
        """Return the age of its oldest message."""


class Flows(Protocol):
    """How all queues move."""

    def of(self, queue: str) -> Flow | None:
        """Return the flow of a queue."""


class Figures(Protocol):
    """What the management API said last."""

    @property
    def latest(self) -> Mapping[str, QueueFigures]:
        """By queue."""


_STATES = ("ready", "blocked", "draining", "declaring", "disconnected")


def register(
    metrics: Metrics,
    topology: Topology,
    broker: Broker,
    catalog: Catalog,
    streams: Streams,
    notices: Notices,
    redis_stores: Callable[[], bool],
) -> None:
    """Add the gauges of the publisher, the queues, Redis, and streams."""
    publisher, depths = broker.publisher, broker.depths
    levels = [level_name(level) for level in range(LEVELS)]

    def ready_of(names: Mapping[str, str]) -> dict[str, float]:
        return {
            label: depths.depths[name].ready
            for label, name in names.items()
            if name in depths.depths
        }

    metrics.gauge(
        "penstock_publisher_state",
        "How many processes have their connection to RabbitMQ in that state.",
        lambda: {state: float(state == publisher.state) for state in _STATES},
        label="state",
    )
    metrics.gauge(
        "penstock_processes",
        "Gateway processes on this port.",
        lambda: 1,
    )
    metrics.gauge(
        "penstock_messages_in_flight",
        "Messages written that RabbitMQ has not confirmed yet.",
        lambda: publisher.inflight_messages,
    )
    metrics.gauge(
        "penstock_inflight_bytes",
        "Octets of these messages.",
        lambda: publisher.inflight_bytes,
    )
    metrics.gauge(
        "penstock_streams",
        "Open streams: WebSockets, and Server-Sent Events.",
        lambda: streams.open,
        label="kind",
    )
    metrics.gauge(
        "penstock_watched_tasks",
        "Tasks that streams and waiting requests watch; for each one channel of Redis.",
        lambda: len(notices),
    )
    metrics.gauge(
        "penstock_watches",
        "The same, each counted as often as it is watched.",
        lambda: notices.listeners,
    )
    metrics.gauge(
        "penstock_redis_up",
        "1 when Redis stored what it was sent, the last time it was tried.",
        lambda: float(redis_stores()),
        shared=True,
    )
    metrics.gauge(
        "penstock_catalog_tasks",
        "Tasks that live workers announce.",
        lambda: len(catalog.tasks),
        shared=True,
    )
    metrics.gauge(
        "penstock_worker_slots",
        "Tasks that a worker can execute at a time.",
        lambda: {worker: one.slots for worker, one in catalog.workers.slots.items()},
        label="worker",
        shared=True,
    )
    metrics.gauge(
        "penstock_worker_slots_busy",
        "Slots of a worker with a task in them.",
        lambda: {worker: one.busy for worker, one in catalog.workers.slots.items()},
        label="worker",
        shared=True,
    )
    metrics.gauge(
        "penstock_worker_slots_lost",
        "Slots whose task did not end within its hard limit; the worker replaces itself.",
        lambda: {worker: one.lost for worker, one in catalog.workers.slots.items()},
        label="worker",
        shared=True,
    )
    metrics.gauge(
        "penstock_worker_loop_blocked",
        "Times that a coroutine held a worker's event loop longer than BLOCKED_LOOP_S.",
        lambda: {worker: one.blocked for worker, one in catalog.workers.slots.items()},
        label="worker",
        shared=True,
        total=True,
    )
    metrics.gauge(
        "penstock_queue_messages",
        "Messages ready in a work queue.",
        lambda: ready_of({name: name for name in topology.queues}),
        label="queue",
        shared=True,
    )
    metrics.gauge(
        "penstock_queue_consumers",
        "Consumers of a work queue.",
        lambda: {
            name: depths.depths[name].consumers for name in topology.queues if name in depths.depths
        },
        label="queue",
        shared=True,
    )
    metrics.gauge(
        "penstock_queue_full",
        "1 for a work queue at its limit.",
        lambda: {name: float(depths.full(name)) for name in topology.queues},
        label="queue",
        shared=True,
    )
    metrics.gauge(
        "penstock_dead_letters",
        "Dead letters of a work queue; `unrouted`: delayed messages whose destination was gone.",
        lambda: ready_of(
            {
                name.removesuffix(DEAD_SUFFIX): name
                for name in depths.depths
                if name.endswith(DEAD_SUFFIX)
            }
        ),
        label="queue",
        shared=True,
    )
    metrics.gauge(
        "penstock_delay_level_messages",
        "Messages waiting in a delay level; the level n holds them for 2**n seconds.",
        lambda: ready_of({str(level): name for level, name in enumerate(levels)}),
        label="level",
        shared=True,
    )


def register_flows(metrics: Metrics, topology: Topology, flows: Flows, figures: Figures) -> None:
    """Add the gauges of how queues move.

    Args:
        metrics: Where to.
        topology: The queues.
        flows: The age of what waits in each.
        figures: What the management API knows of each; empty where none is configured.
    """

    def ages() -> dict[str, float]:
        now = time.monotonic()
        found = {name: flows.of(name) for name in topology.queues}
        ages = {name: flow.oldest_s(now) for name, flow in found.items() if flow is not None}
        return {name: age for name, age in ages.items() if age is not None}

    metrics.gauge(
        "penstock_queue_oldest_seconds",
        "Age of the oldest ready message of a work queue; absent where none is ready, or unknown.",
        ages,
        label="queue",
        shared=True,
    )
    metrics.gauge(
        "penstock_queue_unacknowledged",
        "Messages of a work queue that consumers have and did not acknowledge; by the management "
        "API, absent without it.",
        lambda: {
            name: figures.latest[name].messages_unacknowledged
            for name in topology.queues
            if name in figures.latest
        },
        label="queue",
        shared=True,
    )


def register_problems(metrics: Metrics, problems: Callable[[], Iterable[Known]]) -> None:
    """Add the gauge of what is wrong."""
    metrics.gauge(
        "penstock_problem",
        "1 for what is wrong now; /v1/problems has the words.",
        lambda: {(one.finding.code, one.finding.subject): 1.0 for one in problems()},
        label=("code", "subject"),
        shared=True,
    )


def register_loops(metrics: Metrics, loops: Loops) -> None:
    """Add the gauges of background loops."""
    metrics.gauge(
        "penstock_loop_failing",
        "1 for a background loop that fails at the moment; /readyz has the error.",
        lambda: {
            **dict.fromkeys(loops.names, 0.0),
            **{one.loop: 1.0 for one in loops.failing},
        },
        label="loop",
    )
    metrics.gauge(
        "penstock_loop_failures",
        "Turns of a background loop that failed.",
        lambda: loops.failures,
        label="loop",
        total=True,
    )


def register_history(metrics: Metrics, accepted: Accepted | None) -> None:
    """Add what history was not told of; nothing where there is no history."""
    if accepted is not None:
        metrics.gauge(
            "penstock_history_accepted_dropped",
            "Accepted tasks that history was not told of since the start.",
            lambda: accepted.dropped,
        )
