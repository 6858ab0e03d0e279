"""What operators see and do: workers, pauses, and the audit log of every change."""

from dataclasses import dataclass

from gateway.endings.parts import Endings
from gateway.operating.audit import AuditLog
from gateway.operating.operations import LongOperations
from gateway.operating.pauses import Pauses
from gateway.operating.problem_looks import ProblemLooks, Scheduling
from gateway.operating.purging import KIND as PURGE
from gateway.operating.purging import Purging
from gateway.operating.queue_flows import QueueFlows
from gateway.operating.stock_workers import StockWorkers
from gateway.operating.workers import Workers
from gateway.rabbitmq.heartbeats import Heartbeats
from gateway.rabbitmq.parts import Broker
from gateway.rabbitmq.taking import Taking
from gateway.redis.client import RedisClient
from gateway.states.reading import States
from gateway.submitting.catalog import Catalog
from penstock.looper import Looper
from topology.model import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """How a deployment is operated."""

    workers: Workers
    audit: AuditLog
    pauses: Pauses
    flows: QueueFlows
    operations: LongOperations
    purging: Purging
    problems: ProblemLooks
    stock: StockWorkers
    heartbeats: Heartbeats

    @classmethod
    def make(
        cls,
        topology: Topology,
        redis: RedisClient,
        broker: Broker,
        catalog: Catalog,
        endings: Endings,
        states: States,
        scheduling: Scheduling,
    ) -> "Operating":
        """Make it.

        Args:
            topology: The queues.
            redis: From `make_redis`.
            broker: Hears and commands workers.
            catalog: What workers announce.
            endings: Records the ends of what is purged.
            states: Reads what became of tasks.
            scheduling: Returns whether a scheduler leads, and whether there are schedules.
        """
        records = catalog.workers
        stock = StockWorkers(broker.control, lambda name: name in records.latest)
        workers = Workers(redis, records, stock, broker.control)
        pauses = Pauses(redis, topology)
        flows = QueueFlows(redis, broker.depths, lambda: records.consumers)
        purging = Purging(Taking(broker.connection), endings.outcomes)
        return cls(
            operations=LongOperations(redis, {PURGE: purging.purge}),
            purging=purging,
            problems=ProblemLooks(
                topology=topology,
                redis=redis,
                depths=broker.depths,
                flows=flows,
                pauses=pauses,
                workers=workers,
                states=states,
                scheduling=scheduling,
            ),
            workers=workers,
            audit=AuditLog(redis),
            pauses=pauses,
            flows=flows,
            stock=stock,
            heartbeats=Heartbeats(broker.connection, stock.hear),
        )

    @property
    def loopers(self) -> tuple[Looper, ...]:
        """Hear workers and ask them, look at queues and for problems, do operations."""
        return (
            self.heartbeats.looper,
            self.stock.looper,
            self.flows.looper,
            self.operations.looper,
            self.problems.looper,
        )
