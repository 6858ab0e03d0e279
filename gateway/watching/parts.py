"""What shows states as they change: streams, and requests that wait."""

from dataclasses import dataclass

from gateway.access.parts import Access
from gateway.config import GatewayConfig
from gateway.http.parts import Intake
from gateway.redis.client import RedisClient
from gateway.states.reading import States
from gateway.telemetry.metrics import Metrics
from gateway.watching.stream_counts import StreamCounts
from gateway.watching.stream_parts import StreamLimits, StreamParts
from gateway.watching.streams import Streams
from gateway.watching.viewers import Viewers
from gateway.watching.watch import Watch
from penstock.looper import Looper


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """Who watches, and what."""

    watch: Watch
    streams: Streams
    viewers: Viewers

    @classmethod
    def make(
        cls,
        config: GatewayConfig,
        redis: RedisClient,
        states: States,
        access: Access,
        intake: Intake,
        metrics: Metrics,
    ) -> "Watching":
        """Make it; streams end when their key is gone.

        Args:
            config: Address of Redis.
            redis: From `make_redis`.
            states: Reads states.
            access: Who may watch.
            intake: Bounds what streams hold; whether the gateway drains.
            metrics: Counts events.
        """
        counts = StreamCounts(metrics)
        watch = Watch(config.redis_url, redis, states, counts)
        streams = Streams(
            StreamParts(
                limits=StreamLimits(),
                counts=counts,
                watch=watch,
                rates=access.limits,
                held=intake.held,
                turns=intake.turns,
            )
        )
        access.keyring.on_change.append(streams.end_without_key)
        viewers = Viewers(intake.drain, access.keyring, access.tickets, access.known_ids)
        return cls(watch=watch, streams=streams, viewers=viewers)

    @property
    def loopers(self) -> tuple[Looper, ...]:
        """Listen for notices of changes; look for silent sockets."""
        return self.watch.notices.looper, self.streams.looper
