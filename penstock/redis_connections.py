"""How redis-py connects: to the server of a URL, or to the primary that its Sentinels know.

Each new connection asks the Sentinels where the primary is, and asks the server that it reaches
whether it is one. A connection that waits unused while another connection finds a new primary is
closed when its turn comes.
"""

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import redis
import redis.asyncio
from redis.asyncio.connection import SSLConnection as AsyncTls
from redis.asyncio.connection import parse_url as _parse_async_url
from redis.asyncio.sentinel import (
    SentinelManagedConnection as AsyncManaged,
)
from redis.asyncio.sentinel import (
    SentinelManagedSSLConnection as AsyncManagedTls,
)
from redis.connection import parse_url as _parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from penstock.wire.redis_url import RedisUrl, latest, read
from penstock.wire.tls import Files

# What redis-py calls itself, found out once: it would read the metadata of its package for each
# connection, which takes longer than to connect.
try:
    from redis.driver_info import DriverInfo
except ImportError:  # older ones have no such module
    _DRIVER: Mapping[str, Any] = {}
else:
    _DRIVER = {"driver_info": DriverInfo()}

SENTINEL_TIMEOUT_S = 1.0
"""How long one Sentinel may take to connect, and to answer."""
_OF_SENTINELS = ("ssl_", "connection_class")
"""Parameters of the primary that hold for its Sentinels, too: TLS."""


def pool_options(url: str, **options: Any) -> dict[str, Any]:
    """Return the arguments of a pool of redis-py's connections for threads.

    Args:
        url: as `penstock.wire.redis_url` reads it.
        options: more arguments.

    Raises:
        ValueError: it is no such URL.
    """
    address = read(url)
    given = {**parse_url(address.server), **_DRIVER, **options}
    return behind_sentinels(url, given) if address.sentinels else given


def behind_sentinels(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a pool for threads, with the primary in place of a host.

    Args:
        url: with Sentinels.
        options: arguments as for the server itself.
    """
    tls = _is_tls(url)
    given = {name: value for name, value in options.items() if name not in {"host", "port"}}
    return given | {
        "connection_class": _TlsConnection if tls else _Connection,
        "connection_pool": _primary(url),
        "redis_connect_func": _check_role,
    }


def async_pool_options(url: str, **options: Any) -> dict[str, Any]:
    """Return the arguments of a pool of redis-py's connections for an event loop.

    Args:
        url: as `penstock.wire.redis_url` reads it.
        options: more arguments.

    Raises:
        ValueError: it is no such URL.
    """
    address = read(url)
    given = {**parse_async_url(address.server), **_DRIVER, **options}
    if not address.sentinels:
        return given
    del given["host"], given["port"]
    return given | {
        "connection_class": _AsyncTlsConnection if _is_tls(url) else _AsyncConnection,
        "connection_pool": _async_primary(url),
        "redis_connect_func": _check_role_async,
    }


def is_stale(connection: Any) -> bool:
    """Tell whether another connection has found a new primary since this one was made."""
    primary = getattr(connection, "connection_pool", None)
    return (
        isinstance(primary, _Whereabouts)
        and primary.address is not None
        and primary.address != (connection.host, connection.port)
    )


def parse_url(url: str) -> dict[str, Any]:
    """Return redis-py's reading of the URL of a server, for threads."""
    return dict(_parse_url(url))  # type: ignore[no-untyped-call]


def parse_async_url(url: str) -> dict[str, Any]:
    """Return redis-py's reading of the URL of a server, for an event loop."""
    given = dict(_parse_async_url(url))
    if given.get("connection_class") is AsyncTls:
        given["connection_class"] = _ReadsAgain
    return given


class _Whereabouts:
    """Where the primary is, for what redis-py calls a Sentinel's pool."""

    is_master = True
    check_connection = False
    latest: ClassVar[dict[tuple[Any, ...], tuple[str, int]]] = {}
    """Of each list of Sentinels, the address that was found last: what threads find, an event loop
    of this process knows, too."""

    def __init__(self, address: RedisUrl, options: Mapping[str, Any]) -> None:
        self.service_name = address.primary
        self._key = (*address.sentinels, address.primary)
        self._sentinels = address.sentinels
        user, password = address.sentinel_login
        self._options: dict[str, Any] = {
            **{name: value for name, value in options.items() if name.startswith(_OF_SENTINELS)},
            "username": user,
            "password": password,
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
            "protocol": 2,
            "decode_responses": True,
        }

    def _found(self, answers: list[Any], causes: list[str]) -> tuple[str, int]:
        found = latest(answers)
        if found is None:
            hosts = ", ".join(f"{host}:{port}" for host, port in self._sentinels)
            words = "; ".join(dict.fromkeys(causes))
            raise RedisConnectionError(
                f"no Sentinel of {hosts} knows the primary {self.service_name!r}: {words}"
            )
        self.latest[self._key] = found
        return found

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the primary was when somebody in this process last looked."""
        return self.latest.get(self._key)


class _Primary(_Whereabouts):
    def get_master_address(self) -> tuple[str, int]:
        """Ask Sentinels until more than half have answered."""
        answers, causes = [], []
        for host, port in self._sentinels:
            pool = redis.ConnectionPool(host=host, port=port, **self._options)
            try:
                with redis.Redis.from_pool(pool) as sentinel:
                    answers.append(_fields(sentinel.execute_command(*_question(self.service_name))))
            except (RedisError, OSError) as error:
                causes.append(str(error))
            if len(answers) > len(self._sentinels) // 2:
                break
        return self._found(answers, causes)


class _AsyncPrimary(_Whereabouts):
    async def get_master_address(self) -> tuple[str, int]:
        """Ask every Sentinel at once."""
        told = await asyncio.gather(*(self._ask(*one) for one in self._sentinels))
        causes = [one for one in told if isinstance(one, str)]
        return self._found([one for one in told if not isinstance(one, str)], causes)

    async def _ask(self, host: str, port: int) -> dict[str, str] | str:
        pool = redis.asyncio.ConnectionPool(host=host, port=port, **self._options)
        connection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(SENTINEL_TIMEOUT_S):
                await connection.connect()
                await connection.send_command(*_question(self.service_name))
                return _fields(await connection.read_response())
        except (RedisError, OSError, TimeoutError) as error:
            return str(error) or f"{host}:{port} does not answer"
        finally:
            await connection.disconnect(nowait=True)


def _question(name: str) -> tuple[str, str, str]:
    return "SENTINEL", "MASTER", name


def _fields(answer: Any) -> dict[str, str]:
    """Return the fields of an answer, whichever form this redis-py gives it."""
    if isinstance(answer, Mapping):
        return {str(name): str(value) for name, value in answer.items()}
    return dict(zip(map(str, answer[::2]), map(str, answer[1::2]), strict=True))


def _is_tls(url: str) -> bool:
    return url.startswith("rediss")


@cache
def _primary(url: str) -> _Primary:
    address = read(url)
    return _Primary(address, parse_url(address.server))


@cache
def _async_primary(url: str) -> _AsyncPrimary:
    address = read(url)
    return _AsyncPrimary(address, parse_async_url(address.server))


def _refuse_replica(connection: Any, role: Any) -> None:
    kind = role[0].decode() if isinstance(role[0], bytes) else role[0]
    if kind != "master":
        raise RedisConnectionError(f"{connection.host}:{connection.port} is no primary: {kind}")


def _check_role(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("ROLE")
    try:
        _refuse_replica(connection, connection.read_response())
    except NoPermissionError:  # an account without ROLE: a replica refuses its first write
        return


async def _check_role_async(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("ROLE")
    try:
        _refuse_replica(connection, await connection.read_response())
    except NoPermissionError:
        return


class _Connection(SentinelManagedConnection):
    """Connects again where another connection has found a new primary."""

    def connect(self) -> None:
        if is_stale(self):
            self.disconnect()  # type: ignore[no-untyped-call]
        super().connect()  # type: ignore[no-untyped-call]


class _TlsConnection(_Connection, SentinelManagedSSLConnection):
    pass


class _AsyncConnection(AsyncManaged):
    """Connects again where another connection has found a new primary."""

    async def connect(self) -> None:
        if is_stale(self):
            await self.disconnect()
        await super().connect()  # type: ignore[no-untyped-call]


class _ReadsAgain(AsyncTls):
    """Reads certificates that were replaced: redis-py's keeps those that it read first.

    Its connections for threads read them each time.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._files = Files(options)

    async def _connect(self) -> None:
        if self._files.replaced():
            self.ssl_context.context = None
        await super()._connect()  # type: ignore[no-untyped-call]


class _AsyncTlsConnection(_AsyncConnection, _ReadsAgain, AsyncManagedTls):
    pass
