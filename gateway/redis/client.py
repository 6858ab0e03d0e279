"""The client for commands: one pool of connections, each command bounded in time."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from gateway.redis.faults import NotCopiedError, RedisAwayError, bounded
from penstock.redis_connections import async_pool_options
from penstock.wire.keys import ResultKeys
from penstock.wire.scripts import script

COMMAND_TIMEOUT_S = 3.0
"""How long a command may take in all, waiting for a free connection included."""
SOCKET_TIMEOUT_S = 2.5
CONNECT_TIMEOUT_S = 1.5
_MAX_CONNECTIONS = 32
RESP2 = 2
"""Notices come as plain arrays, and the pure Python parser is at its fastest."""


_PROBE_KEYS = ("penstock:probe:one", "penstock:probe:other")
_PROBE_KEPT_S = 60
_COPIES_SHARE = 0.4
"""How much of the time of a command the replicas may take to have what it wrote."""


class ScriptCall(Protocol):
    """A script of `penstock/wire/lua`, ready to be called."""

    def __call__(self, *, keys: Sequence[str], args: Sequence[Any] = ()) -> Awaitable[Any]:
        """Call it in one round trip; text in its answer is bytes.

        Raises:
            RedisAwayError: It was not called, or its answer is not known.
        """


class RedisClient:
    """Redis for commands.

    Every method but `close` raises RedisAwayError, a problem `state-unavailable`, or one of its
    subclasses.

    Args:
        redis: The library's client, from `make_redis`.
        timeout_s: For each command, waiting for a free connection included.
        keys: The names of what Celery stores.
        copies: How many replicas must have what must not be lost.
    """

    def __init__(self, redis: Redis, timeout_s: float, keys: ResultKeys, copies: int = 0) -> None:
        self._redis = redis
        self.keys = keys
        """The names of what Celery stores."""
        self._timeout_s = timeout_s
        self._copies = copies
        self._execute: Callable[..., Awaitable[Any]] = redis.execute_command

    def within(self, timeout_s: float) -> "RedisClient":
        """Return a client of the same connections with another time for each command."""
        return RedisClient(self._redis, timeout_s, self.keys, self._copies)

    def script(self, name: str, *, copied: bool = False) -> ScriptCall:
        """Return a script to call.

        Args:
            name: Of its file in `penstock/wire/lua`.
            copied: Whether what it writes must not be lost: with `REDIS_WAIT_REPLICAS` its answer
                comes when so many replicas have it, or as NotCopiedError.
        """
        found, timeout_s = script(name), self._timeout_s
        execute, execute_copied = self._execute, self._execute_copied

        async def call(*, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
            async with bounded(timeout_s):
                try:
                    return await execute("EVALSHA", found.sha, len(keys), *keys, *args)
                except NoScriptError:  # Redis was restarted; this makes it remember the text
                    return await execute("EVAL", found.text, len(keys), *keys, *args)

        async def call_copied(*, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
            async with bounded(timeout_s):  # by its text: replicas are waited for once, not twice
                return await execute_copied("EVAL", found.text, len(keys), *keys, *args)

        return call_copied if copied and self._copies else call

    async def execute_each(
        self, name: str, calls: Iterable[tuple[Sequence[str], Sequence[Any]]], *, copied: bool
    ) -> list[Any]:
        """Call a script several times in one round trip; return the answers.

        Args:
            name: Of its file in `penstock/wire/lua`.
            calls: Keys and arguments of each call; a hundred or so.
            copied: As of `script`.

        Raises:
            RedisAwayError: The answers are not known, or one call failed; others may have been
                made.
        """
        found = script(name)
        async with self.pipeline() as pipe:
            pipe.execute_command("SCRIPT LOAD", found.text)
            for keys, args in calls:
                pipe.execute_command("EVALSHA", found.sha, len(keys), *keys, *args)
            if not (copied and self._copies):
                return (await pipe.execute())[1:]
            pipe.execute_command("WAIT", self._copies, int(self._timeout_s * _COPIES_SHARE * 1000))
            _, *answers, copies = await pipe.execute()
            if copies < self._copies:
                raise NotCopiedError(answers, copies, self._copies)
            return answers

    async def _execute_copied(self, *words: Any) -> Any:
        """Execute a command, and wait until replicas have it, in one round trip."""
        wait_ms = int(self._timeout_s * _COPIES_SHARE * 1000)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.execute_command(*words)
            pipe.execute_command("WAIT", self._copies, wait_ms)
            answer, copies = await pipe.execute(raise_on_error=False)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(copies, Exception):
            raise copies
        if copies < self._copies:
            raise NotCopiedError(answer, copies, self._copies)
        return answer

    @contextlib.asynccontextmanager
    async def pipeline(self, *, transaction: bool = False) -> AsyncIterator[Pipeline]:
        """Give several commands that leave together; await its `execute` within the block.

        Args:
            transaction: Execute all of them or none, with nothing between them.
        """
        async with bounded(self._timeout_s), self._redis.pipeline(transaction=transaction) as pipe:
            yield pipe

    async def get(self, key: str) -> bytes | None:
        """Return a string; None: there is none."""
        found: bytes | None = await self._command("GET", key)
        return found

    async def mget(self, *keys: str) -> list[bytes | None]:
        """Return several strings; None for each that there is not."""
        found: list[bytes | None] = await self._command("MGET", *keys)
        return found

    async def set(self, key: str, value: bytes, *, keep_s: int) -> None:
        """Store a string for so many seconds."""
        await self._command("SET", key, value, "EX", keep_s)

    async def put_field(self, key: str, field: str, value: str) -> None:
        """Set a field of a hash."""
        await self._command("HSET", key, field, value)

    async def delete(self, key: str) -> None:
        """Delete a key."""
        await self._command("DEL", key)

    async def delete_field(self, key: str, field: str) -> None:
        """Delete a field of a hash."""
        await self._command("HDEL", key, field)

    async def append(self, key: str, fields: Mapping[str, str], *, length: int) -> None:
        """Append an entry to a stream, of which about so many are kept."""
        words = [word for pair in fields.items() for word in pair]
        await self._command("XADD", key, "MAXLEN", "~", length, "*", *words)

    async def exists(self, key: str) -> bool:
        """Return whether there is such a key."""
        return bool(await self._command("EXISTS", key))

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        """Return the fields of a hash; none where there is no hash."""
        found: dict[bytes, bytes] = await self._command("HGETALL", key)
        return found

    async def members(self, key: str) -> list[bytes]:
        """Return the members of a sorted set, by their scores."""
        found: list[bytes] = await self._command("ZRANGE", key, 0, -1)
        return found

    async def memory(self) -> Mapping[str, Any]:
        """Return the section `memory` of Redis' INFO."""
        found: dict[str, Any] = await self._command("INFO", "memory")
        return found

    async def probe(self) -> Mapping[str, Any]:
        """Find out whether Redis stores what a claim or an end is, copies included.

        Returns:
            The section `memory` of its INFO.

        Raises:
            RedisAwayError: It does not; `refuses` says whether it answered.
        """
        memory = await self.memory()
        used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
        if most and used >= most and memory.get("maxmemory_policy") == "noeviction":
            raise RedisAwayError(f"{used} of {most} bytes; states cannot be stored", "is full")
        await self.script("probe", copied=True)(keys=_PROBE_KEYS, args=[_PROBE_KEPT_S])
        return memory

    async def ping(self) -> None:
        """Find out whether Redis answers."""
        await self._command("PING")

    async def _command(self, *words: Any) -> Any:
        async with bounded(self._timeout_s):
            return await self._execute(*words)

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()


def make_redis(url: str, key_prefix: str = "", copies: int = 0) -> RedisClient:
    """Return a client, which connects when first used.

    A stale connection of the pool is tried again once.

    Args:
        url: As `penstock.wire.redis_url` reads it.
        key_prefix: `global_keyprefix` of the apps' result backend.
        copies: How many replicas must have what must not be lost.
    """
    options = async_pool_options(
        url,
        max_connections=_MAX_CONNECTIONS,
        timeout=COMMAND_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
        protocol=RESP2,
    )
    redis = Redis.from_pool(BlockingConnectionPool(**options))
    return RedisClient(redis, COMMAND_TIMEOUT_S, ResultKeys(key_prefix), copies)
