"""The clients of Redis that this process builds itself; everyone else is handed one.

Celery's result backend builds its own synchronous client from the settings in `app.py`.
"""

import redis
import redis.asyncio

CONNECT_TIMEOUT_S = 2.0
SOCKET_TIMEOUT_S = 5.0
"""Without a timeout a client hangs for ever after a network partition."""


def sync_client(url: str) -> redis.Redis:
    """Make a client for threads; connects on first use."""
    return redis.Redis.from_url(
        url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=CONNECT_TIMEOUT_S
    )


def async_client(url: str) -> redis.asyncio.Redis:
    """Make a client for the running event loop; connects on first use."""
    return redis.asyncio.Redis.from_url(
        url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=CONNECT_TIMEOUT_S
    )
