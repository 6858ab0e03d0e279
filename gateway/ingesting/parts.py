"""What takes documents: checked, batched, published."""

from dataclasses import dataclass

from gateway.access.parts import Access
from gateway.access.room import Room
from gateway.config import GatewayConfig
from gateway.http.parts import Intake
from gateway.ingesting.batch_publisher import BatchPublisher
from gateway.ingesting.documents import Bounds, Documents
from gateway.ingesting.lanes import Lanes
from gateway.rabbitmq.parts import Broker
from topology.model import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingesting:
    """How documents are ingested."""

    documents: Documents
    """Takes them in."""

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
        ids = access.task_ids
        return cls(
            documents=Documents(
                Lanes(topology, config.collection_pattern, broker.origin, len(ids.issue(""))),
                BatchPublisher(broker.publisher, ids, config.confirm_timeout_s),
                Room(topology, broker.depths, access.kept_results),
                intake.held,
                Bounds(
                    document_bytes=config.max_document_bytes, array_bytes=config.max_array_bytes
                ),
            )
        )
