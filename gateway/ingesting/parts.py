"""What takes documents: checked, batched, published."""

from dataclasses import dataclass

from gateway.access.parts import Access
from gateway.config import GatewayConfig
from gateway.http.parts import Intake
from gateway.ingesting.batch_publisher import BatchPublisher
from gateway.ingesting.checker import DocumentChecker
from gateway.ingesting.group_commit import GroupCommit
from gateway.rabbitmq.parts import Broker
from topology.model import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingesting:
    """How documents are ingested."""

    batches: BatchPublisher
    group_commit: GroupCommit
    """Puts small requests of one collection into one batch."""
    checker: DocumentChecker
    """Of documents without `?key=`."""

    @classmethod
    def make(
        cls,
        config: GatewayConfig,
        topology: Topology,
        access: Access,
        broker: Broker,
        intake: Intake,
    ) -> "Ingesting":
        """Make it.

        Args:
            config: Bounds and collections.
            topology: Where batches go.
            access: Issues ids, and knows which tenants keep too many results.
            broker: Publishes.
            intake: Counts what is held.
        """
        batches = BatchPublisher(
            config,
            topology,
            access.task_ids,
            broker.depths,
            broker.publisher,
            intake.held,
            broker.origin,
            access.kept_results,
        )
        return cls(
            batches=batches,
            group_commit=GroupCommit(batches),
            checker=DocumentChecker(config.max_document_bytes),
        )
