"""Connections to RabbitMQ, one host of a cluster or the only one."""

from typing import Any

from kombu.connection import Connection as KombuConnection
from kombu.connection import ConnectionPool, PooledConnection


class _HostNamed(KombuConnection):
    """A connection whose certificate is checked for the name of the host that it has.

    kombu would keep the name of the first host, and turns localhost into 127.0.0.1 for good.
    """

    def _establish_connection(self) -> Any:
        options, host = self.ssl, self.hostname
        if isinstance(options, dict) and options.get("server_hostname", "") is None:
            self.ssl = {**options, "server_hostname": host or "localhost"}
        try:
            return super()._establish_connection()  # type: ignore[no-untyped-call]
        finally:
            self.ssl, self.hostname = options, host


class _Pooled(_HostNamed, PooledConnection):
    """The same, for a pool."""


class _Pool(ConnectionPool):
    """kombu's pool, of such connections."""

    def new(self) -> _Pooled:
        """Return another connection."""
        settings = dict(self.connection._info(resolve=False))  # noqa: SLF001  # as kombu's pool
        return _Pooled(self, **settings)  # type: ignore[no-untyped-call]


class Connection(_HostNamed):
    """Celery's connection to RabbitMQ: to one host of several, or to the only one."""

    def Pool(self, limit: int | None = None, **kwargs: Any) -> _Pool:  # noqa: N802  # kombu's
        """Return a pool of connections like this."""
        return _Pool(self, limit, **kwargs)  # type: ignore[no-untyped-call]
