"""What every connection to RabbitMQ has in common."""

from collections.abc import Mapping
from typing import Any, Final

from yarl import URL

HEARTBEAT_S: Final = 10
"""AMQP heartbeat unless the URL names one."""
CONNECT_TIMEOUT_S: Final = 5.0


def amqp_url(url: str, connection_name: str) -> str:
    """Return the URL with a heartbeat and a connection name unless it has them.

    Args:
        url: `amqp://` or `amqps://`, in aio-pika's form.
        connection_name: What RabbitMQ lists the connection as.
    """
    parsed = URL(url)
    extra = {"heartbeat": str(HEARTBEAT_S), "name": connection_name}
    return str(parsed.extend_query({k: v for k, v in extra.items() if k not in parsed.query}))


def major_version(server_properties: Mapping[str, Any]) -> int | None:
    """Return RabbitMQ's major version; None where it does not say.

    Args:
        server_properties: Of `connection.start`.
    """
    version = server_properties.get("version")
    text = version.decode("ascii", "replace") if isinstance(version, bytes) else str(version)
    major = text.partition(".")[0]
    return int(major) if major.isascii() and major.isdigit() else None
