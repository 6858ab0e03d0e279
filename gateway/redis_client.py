"""The gateway's Redis clients: made here only, always with timeouts."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0


def make_redis(url: str) -> Redis:
    """A client for commands; its calls fail in seconds when Redis is away."""
    return Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=30,
    )
