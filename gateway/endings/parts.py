"""How tasks end besides in their worker: callbacks, revocation, what the broker ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.config import GatewayConfig
from gateway.endings.callback_delivery import CallbackDelivery
from gateway.endings.callback_events import CallbackEvents
from gateway.endings.callback_post import CallbackPost
from gateway.endings.gate import Gate
from gateway.endings.kept_callbacks import KeptCallbacks
from gateway.endings.outcomes import Outcomes
from gateway.endings.outstanding import Outstanding
from gateway.endings.revocation import Revocation
from gateway.rabbitmq.consumer import Consumer
from gateway.rabbitmq.parts import Broker
from gateway.redis.client import RedisClient
from gateway.states.reading import States
from gateway.telemetry.tracing import Spans
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
    kept: KeptCallbacks
    """Keeps each `callback_url` until the end of its task is announced."""
    callbacks: CallbackDelivery | None
    """Delivers them; None where no host is allowed."""
    outstanding: Outstanding
    """Looks after the callbacks of tasks whose workers announce no end."""
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
        spans: Spans | None = None,
    ) -> "Endings":
        """Make it.

        Args:
            config: How long results are kept; hosts of callbacks.
            topology: Says whether apps own anything.
            redis: From `make_redis`.
            states: Reads states.
            broker: Publishes, and controls workers.
            spans: Of the gateway; None: tracing is off.
        """
        kept = KeptCallbacks(redis, config.quotas.callback_bytes)
        events = CallbackEvents(broker.publisher, redis, broker.origin, kept)
        post = CallbackPost(config, spans)

        def keeps(task: str) -> bool:
            route = topology.route(task)
            return route is None or route.keep_arguments

        outcomes = Outcomes(broker.connection, redis, config.result_expires_s, events, keeps)
        return cls(
            revocation=Revocation(redis, states, broker.control, config.result_expires_s),
            outcomes=outcomes,
            events=events,
            kept=kept,
            callbacks=(
                CallbackDelivery(broker.connection, events, states, post)
                if config.callback_hosts and topology.has_callbacks
                else None
            ),
            outstanding=Outstanding(redis, states, events, kept),
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
        loopers = [consumer.looper for consumer in self._consumers]
        if self.gate is not None and self.callbacks is not None:
            loopers.append(self.outstanding.looper)
        return tuple(loopers)

    @property
    def _consumers(self) -> list[Consumer]:
        parts = (self.outcomes, self.callbacks, self.gate)
        return [part.consumer for part in parts if part is not None]

    async def finish(self) -> None:
        """Take no more messages, and end those under way: they would be handled twice."""
        await asyncio.gather(*(consumer.finish() for consumer in self._consumers))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the connections to the receivers of callbacks until the end."""
        try:
            yield
        finally:
            await self.post.close()
