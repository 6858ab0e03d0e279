"""What operators see and do: workers, pauses, and the audit log of every change."""

from dataclasses import dataclass

from gateway.access.parts import Access
from gateway.endings.parts import Endings
from gateway.history.client import HistoryClient
from gateway.operating.audit import AuditLog
from gateway.operating.history_work import HistoryWork
from gateway.operating.operations import LongOperations
from gateway.operating.pauses import Pauses
from gateway.operating.problem_looks import ProblemLooks, Scheduling
from gateway.operating.purging import PURGE, Purging
from gateway.operating.queue_flows import QueueFlows
from gateway.operating.queue_look import QueueLook
from gateway.operating.retrying import Retrying
from gateway.operating.revoking import Revoking
from gateway.operating.stock_workers import StockWorkers
from gateway.operating.task_counts import CountedTasks
from gateway.operating.workers import Workers
from gateway.rabbitmq.heartbeats import Heartbeats
from gateway.rabbitmq.parts import Broker
from gateway.rabbitmq.taking import Taking
from gateway.redis.client import RedisClient
from gateway.states.reading import States
from gateway.submitting.parts import Submitting
from penstock.looper import Looper
from penstock.wire.history_queries import RETRY, REVOKE
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
    counts: CountedTasks
    figures: QueueLook

    @classmethod
    def make(
        cls,
        topology: Topology,
        redis: RedisClient,
        access: Access,
        broker: Broker,
        submitting: Submitting,
        endings: Endings,
        states: States,
        scheduling: Scheduling,
        history: HistoryClient,
    ) -> "Operating":
        """Make it.

        Args:
            topology: The queues.
            redis: From `make_redis`.
            access: Issues ids.
            broker: Hears and commands workers.
            submitting: Publishes tasks again, and knows what workers announce.
            endings: Records the ends of what is purged, and revokes.
            states: Reads what became of tasks.
            scheduling: Returns whether a scheduler leads, and whether there are schedules.
            history: Knows what happened.
        """
        records = submitting.catalog.workers
        stock = StockWorkers(broker.control, lambda name: name in records.latest)
        workers = Workers(redis, records, stock, broker.control)
        pauses = Pauses(redis, topology)
        flows = QueueFlows(redis, broker.depths, lambda: records.consumers)
        purging = Purging(topology, Taking(broker.connection), endings.outcomes)
        retrying = Retrying(history, submitting.submission, access.task_ids, topology)
        revoking = Revoking(access.known_ids, endings.revocation, endings.events)
        counts = CountedTasks(redis, lambda task: bool(submitting.catalog.announced(task)))
        endings.outcomes.on_recorded = counts.ended
        return cls(
            counts=counts,
            figures=QueueLook(broker.management),
            operations=LongOperations(
                redis,
                {
                    PURGE: purging.purge,
                    RETRY: HistoryWork(history, retrying.retry).work,
                    REVOKE: HistoryWork(history, revoking.revoke).work,
                },
            ),
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
                history=history,
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
            self.counts.looper,
            self.figures.looper,
        )
