"""Connections to RabbitMQ, one host of a cluster or the only one."""

import contextlib
from collections.abc import Iterator
from typing import Any

from kombu.connection import Connection as KombuConnection

from penstock.wire.hosts import rotated

ANSWER_WITHIN_S = 15.0
"""How long RabbitMQ may take to answer while a worker starts to consume. A node that has lost the
others in silence answers no declaration before its net tick, which is a minute."""


class Connection(KombuConnection):
    """kombu's connection, whose certificate is checked for the host that it has."""

    def _establish_connection(self) -> Any:
        with self._named():
            return super()._establish_connection()  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Put the host into the TLS options, for this attempt: another host has another name.

        kombu would keep the name of the first, and turns localhost into 127.0.0.1 for good.
        """
        options, host = self.ssl, self.hostname
        if isinstance(options, dict) and options.get("server_hostname", "") is None:
            self.ssl = {**options, "server_hostname": host or "localhost"}
        try:
            yield
        finally:
            self.ssl, self.hostname = options, host


@contextlib.contextmanager
def answering(connection: Any, within_s: float = ANSWER_WITHIN_S) -> Iterator[None]:
    """Bound every answer of RabbitMQ in time: py-amqp waits for ever.

    Args:
        connection: kombu's, connected.
        within_s: seconds without a single octet.

    Raises:
        TimeoutError: it did not answer; the connection is of no more use.
    """
    sock = connection.connection.sock
    before = sock.gettimeout()
    sock.settimeout(within_s)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            sock.settimeout(before)


def try_another_host(app: Any) -> None:
    """Have the next connections of this process begin with another host, if there is one.

    Args:
        app: Celery's.
    """
    urls = app.conf.broker_url
    if not isinstance(urls, str) and len(urls) > 1:
        app.conf.broker_url = rotated(urls)
