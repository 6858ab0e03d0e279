"""Connections to RabbitMQ, one host of a cluster or the only one."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from amqp.exceptions import AMQPError
from kombu.connection import Connection as KombuConnection
from kombu.connection import ConnectionPool, PooledConnection
from kombu.utils.url import parse_url

from penstock.wire.hosts import rotated

ANSWER_WITHIN_S = 15.0
"""How long RabbitMQ may take to answer a worker that begins to consume. A node that has lost the
others without a word answers some declarations only after its net tick, which is a minute."""


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


@contextlib.contextmanager
def answering(connection: Any, within_s: float = ANSWER_WITHIN_S) -> Iterator[None]:
    """Bound every answer of RabbitMQ in time: py-amqp waits for ever.

    Args:
        connection: kombu's, connected.
        within_s: seconds without a single octet.

    Raises:
        TimeoutError: it did not answer; the connection is of no more use.
    """
    with connection.connection.transport.having_timeout(within_s):
        yield


@contextlib.contextmanager
def answered_within(underlay: Any, within_s: float) -> Iterator[None]:
    """Bound the wait for one answer in time, whatever else comes on the connection meanwhile.

    Args:
        underlay: py-amqp's connection, which is hung up when it is too late.
        within_s: seconds until the answer.

    Raises:
        TimeoutError: there was none; the connection is of no more use.
    """
    late = threading.Event()

    def give_up() -> None:
        late.set()
        hang_up(underlay)

    timer = threading.Timer(within_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (AMQPError, OSError) as error:
        if late.is_set():
            raise TimeoutError(f"no answer within {within_s:.1f} s") from error
        raise
    finally:
        timer.cancel()


def bound(connection: Any, within_s: float = ANSWER_WITHIN_S) -> None:
    """Bound every answer and every write on a connection, for as long as it lives.

    Args:
        connection: kombu's, connected.
        within_s: seconds without a single octet.
    """
    connection.connection.sock.settimeout(within_s)


def drop(connection: Any) -> None:
    """Close a connection without a farewell: a silent host never answers one.

    Args:
        connection: kombu's, connected or not, or None; to close it in order then has no effect.
    """
    underlay = getattr(connection, "_connection", None)  # `connection.connection` would connect
    if underlay is not None:
        hang_up(underlay)
        underlay.collect()


def hang_up(underlay: Any) -> None:
    """End the socket of a connection, so that who reads it sees a lost connection.

    Below TLS: in its own farewell py-amqp would wait for a silent host, and Python's shutdown makes
    of the next read an error that is none of a lost connection (ValueError).

    Args:
        underlay: py-amqp's connection.
    """
    if underlay.connected:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(underlay.sock, socket.SHUT_RDWR)


@contextlib.contextmanager
def closing_answered(connection: Any) -> Iterator[Any]:
    """Close a connection at the end; in order only if RabbitMQ has answered everything on it.

    It does not answer the farewell before it has given up each channel that waits for a node.

    Args:
        connection: kombu's.
    """
    with connection:
        try:
            yield connection
        except OSError:
            drop(connection)
            raise


def try_another_host(app: Any) -> None:
    """Have the next connections of this process begin with another host, if there is one.

    Args:
        app: Celery's.
    """
    urls = app.conf.broker_url
    if isinstance(urls, list | tuple) and len(urls) > 1:
        app.conf.update(broker_url=rotated(urls))


def leave_host(app: Any, connection: Any) -> None:
    """Have the next connections of this process try the host of a connection last.

    Args:
        app: Celery's.
        connection: kombu's, which is lost; None: of no host in particular.
    """
    urls = app.conf.broker_url
    if connection is None or not isinstance(urls, list | tuple):
        return
    lost = (connection.hostname, connection.port)
    at = {
        url: (parts["hostname"], parts["port"] or connection.port)
        for url, parts in zip(urls, map(parse_url, urls), strict=True)
    }
    app.conf.update(broker_url=sorted(urls, key=lambda url: at[url] == lost))
