"""How tasks end besides in their worker: callbacks, revocation, what the broker ends."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.config import GatewayConfig
from gateway.endings.callback_delivery import CallbackDelivery
from gateway.endings.callback_events import CallbackEvents
from gateway.endings.callback_post import CallbackPost
from gateway.endings.gate import Gate
from gateway.endings.outcomes import Outcomes
from gateway.endings.outstanding import Outstanding
from gateway.endings.revocation import Revocation
from gateway.rabbitmq.parts import Broker
from gateway.redis.client import RedisClient
from gateway.states.reading import States
from penstock.looper import Looper
from topology.model import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """Ends of tasks."""

    revocation: Revocation
    outcomes: Outcomes
    """Stores the ends that RabbitMQ decided."""
    events: CallbackEvents
    """Publishes ends for their `callback_url`."""
    callbacks: CallbackDelivery | None
    """Delivers them; None where no host is allowed."""
    outstanding: Outstanding
    """Keeps the callbacks of tasks whose workers announce no end."""
    post: CallbackPost
    gate: Gate | None
    """Passes delayed messages on to what an app owns; None where no app owns anything."""

    @classmethod
    def make(
        cls,
        config: GatewayConfig,
        topology: Topology,
        redis: RedisClient,
        states: States,
        broker: Broker,
    ) -> "Endings":
        """Make it.

        Args:
            config: How long results are kept; hosts of callbacks.
            topology: Says whether apps own anything.
            redis: From `make_redis`.
            states: Reads states.
            broker: Publishes, and controls workers.
        """
        events = CallbackEvents(
            broker.publisher, redis, broker.origin, config.quotas.callback_bytes
        )
        post = CallbackPost(config)
        outcomes = Outcomes(broker.connection, redis, config.result_expires_s, events)
        return cls(
            revocation=Revocation(redis, states, broker.control, config.result_expires_s),
            outcomes=outcomes,
            events=events,
            callbacks=(
                CallbackDelivery(broker.connection, events, states, post)
                if config.callback_hosts
                else None
            ),
            outstanding=Outstanding(redis, states, events),
            post=post,
            gate=(
                Gate(broker.connection, broker.publisher, redis, outcomes)
                if topology.has_app
                else None
            ),
        )

    @property
    def loopers(self) -> tuple[Looper, ...]:
        """Consume the ends that RabbitMQ decided, those that a URL is posted, and the gate's."""
        consumers = [self.outcomes.consumer]
        if self.callbacks is not None:
            consumers.append(self.callbacks.consumer)
        if self.gate is not None:
            consumers.append(self.gate.consumer)
        loopers = [consumer.looper for consumer in consumers]
        if self.gate is not None and self.callbacks is not None:
            loopers.append(self.outstanding.looper)
        return tuple(loopers)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the connections to the receivers of callbacks until the end."""
        try:
            yield
        finally:
            await self.post.close()
