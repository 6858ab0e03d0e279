"""Keeps the connection to the broker while Celery's loop stands still: in a worker that stops."""

import logging
from typing import Any

_logger = logging.getLogger(__name__)


def keep_alive(connection: Any) -> None:
    """Send and read heartbeats: a lost connection would have the broker deliver all again.

    Args:
        connection: kombu's; None: there is none.
    """
    if connection is None or not connection.connected:
        return
    try:
        connection.heartbeat_check()
        connection.drain_events(timeout=0.01)
    except TimeoutError:
        pass
    except Exception as error:  # noqa: BLE001  # whatever a dying connection raises
        _logger.warning("the connection is lost while the worker stops: %r", error)
