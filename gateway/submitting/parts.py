"""What takes a task: checked, planned, published."""

from dataclasses import dataclass
from functools import partial

from gateway.access.parts import Access
from gateway.access.room import Room
from gateway.config import GatewayConfig
from gateway.endings.callback_post import check_url
from gateway.endings.parts import Endings
from gateway.rabbitmq.parts import Broker
from gateway.redis.client import RedisClient
from gateway.submitting.absent_tasks import AbsentTasks
from gateway.submitting.accepted import Accepted
from gateway.submitting.catalog import Catalog
from gateway.submitting.planning import Planner
from gateway.submitting.submission import Submission
from penstock.looper import Looper
from penstock.wire.app_description import signatures
from topology.model import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitting:
    """How tasks are submitted."""

    planner: Planner
    """Knows what a key may submit."""
    submission: Submission
    catalog: Catalog
    """The tasks that workers announce."""
    max_task_bytes: int
    """Bound of one task's JSON."""
    accepted: Accepted | None = None
    """Tells history what was published; None: there is no history."""

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
        catalog = Catalog(redis, signatures(topology.apps))
        planner = Planner(
            topology,
            catalog,
            AbsentTasks(topology, catalog, broker.depths),
            Room(topology, broker.depths, access.kept_results),
            partial(check_url, topology=topology, patterns=config.callback_hosts),
            broker.publisher,
        )
        accepted = Accepted(redis) if config.history_url else None
        submission = Submission(
            planner,
            access.task_ids,
            broker.publisher,
            endings.kept,
            broker.origin,
            accepted,
        )
        return cls(
            planner=planner,
            submission=submission,
            catalog=catalog,
            max_task_bytes=config.max_task_bytes,
            accepted=accepted,
        )

    @property
    def loopers(self) -> tuple[Looper, ...]:
        """Read what workers announce, and tell history what was published."""
        told = () if self.accepted is None else (self.accepted.looper,)
        return (self.catalog.looper, *told)
