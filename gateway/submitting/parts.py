"""What takes a task: checked, planned, published."""

from dataclasses import dataclass

from gateway.access.parts import Access
from gateway.config import GatewayConfig
from gateway.endings.parts import Endings
from gateway.rabbitmq.parts import Broker
from gateway.redis.client import RedisClient
from gateway.submitting.catalog import Catalog
from gateway.submitting.submission import Submission
from penstock.looper import Looper
from topology.model import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitting:
    """How tasks are submitted."""

    submission: Submission
    catalog: Catalog
    """The tasks that workers announce."""
    max_task_bytes: int
    """Bound of one task's JSON."""

    @classmethod
    def make(
        cls,
        config: GatewayConfig,
        topology: Topology,
        redis: RedisClient,
        access: Access,
        broker: Broker,
        endings: Endings,
    ) -> "Submitting":
        """Make it.

        Args:
            config: Bounds, and rules of callbacks.
            topology: Where tasks go.
            redis: From `make_redis`.
            access: Issues ids, and knows which tenants keep too many results.
            broker: Publishes.
            endings: Remembers who is called when a task has ended.
        """
        catalog = Catalog(redis)
        submission = Submission(
            config,
            topology,
            access.task_ids,
            catalog,
            broker.depths,
            broker.publisher,
            broker.origin,
            endings.events,
            access.kept_results,
        )
        return cls(submission=submission, catalog=catalog, max_task_bytes=config.max_task_bytes)

    @property
    def loopers(self) -> tuple[Looper, ...]:
        """Read what workers announce."""
        return (self.catalog.looper,)
