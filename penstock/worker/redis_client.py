"""The clients of Redis that this process builds itself; everyone else is handed one.

Celery's result backend builds its own synchronous client from the settings in `app.py`.
"""

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

CONNECT_TIMEOUT_S = 2.0
SOCKET_TIMEOUT_S = 5.0
"""Without a timeout a client hangs for ever after a network partition."""


ATTEMPTS_MORE = 1
"""One more attempt, at once, replaces a pooled connection that a restart of Redis has cut. Who
wants to wait for Redis does so where it can be seen and stopped."""


def sync_retry() -> Retry:
    """Return how a synchronous client tries again."""
    return Retry(NoBackoff(), ATTEMPTS_MORE)


def sync_client(url: str) -> redis.Redis:
    """Make a client for threads; connects on first use."""
    return redis.Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=sync_retry(),
    )


def async_client(url: str, **options: Any) -> redis.asyncio.Redis:
    """Make a client for the running event loop; connects on first use.

    Args:
        url: of the server.
        options: redis-py's.
    """
    return redis.asyncio.Redis.from_url(
        url,
        **options,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=AsyncRetry(NoBackoff(), ATTEMPTS_MORE),
    )
