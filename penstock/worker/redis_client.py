"""The clients of Redis that this process builds itself; everyone else is handed one.

Celery's result backend builds its own synchronous client from the settings in `app.py`.
"""

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.redis_connections import async_pool_options, pool_options

CONNECT_TIMEOUT_S = 2.0
SOCKET_TIMEOUT_S = 5.0
"""Without a timeout a client hangs for ever after a network partition."""
_TIMEOUTS = {
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
}

ATTEMPTS_MORE = 1
"""One more attempt, at once, replaces a pooled connection that a restart of Redis has cut. Who
wants to wait for Redis does so where it can be seen and stopped."""


def sync_retry() -> Retry:
    """Return how a synchronous client tries again."""
    return Retry(NoBackoff(), ATTEMPTS_MORE)


def sync_client(url: str, **options: Any) -> redis.Redis:
    """Make a client for threads; connects on first use.

    Args:
        url: as `penstock.wire.redis_url` reads it.
        options: redis-py's.
    """
    given = {**_TIMEOUTS, "retry": sync_retry(), **options}
    return redis.Redis.from_pool(redis.ConnectionPool(**pool_options(url, **given)))


def async_client(url: str, **options: Any) -> redis.asyncio.Redis:
    """Make a client for the running event loop; connects on first use.

    Args:
        url: as `penstock.wire.redis_url` reads it.
        options: redis-py's.
    """
    given = {**_TIMEOUTS, "retry": AsyncRetry(NoBackoff(), ATTEMPTS_MORE), **options}
    pool = redis.asyncio.ConnectionPool(**async_pool_options(url, **given))
    return redis.asyncio.Redis.from_pool(pool)
