"""Scripts in Redis, called by threads at little cost, on connections that are kept for them.

A call through redis-py's client costs a worker more than all the rest of a change of state: it
polls the socket, takes each argument apart and keeps four metrics. Here it is one write and one
read on redis-py's own connection, with redis-py's errors.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from penstock.redis_connections import is_stale
from penstock.wire.scripts import Script
from penstock.worker.redis_client import ATTEMPTS_MORE

_NAMED = ("EVALSHA",) if redis.VERSION[:2] < (5, 3) else ()
"""What redis-py before 5.3 wants of `get_connection`, without looking at it."""


_WAIT_MS = "$4\r\n1000\r\n"
"""How long replicas may take before a worker asks again, milliseconds: shorter than any timeout."""


class ScriptCall(NamedTuple):
    """A script with its keys and arguments."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | int]
    copies: int = 0
    """How many replicas must have what it writes before its answer counts."""


class NotCopiedError(RedisConnectionError):
    """It was written, and too few replicas have it: a failover may lose it.

    Args:
        copies: how many have it.
        wanted: how many must.
    """

    def __init__(self, copies: int, wanted: int) -> None:
        super().__init__(f"copied to {copies} replicas of {wanted}")


class ScriptCalls:
    """Calls scripts on connections of its own, as many as there are threads that call at a time.

    Args:
        pool: where the connections come from; they stay taken from it.
    """

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._pid = os.getpid()
        self._idle: list[Any] = []

    def __repr__(self) -> str:
        """Tell how many connections wait."""
        return f"<ScriptCalls {len(self._idle)} idle>"

    def call(
        self, script: Script, keys: Sequence[str], args: Sequence[str | int], copies: int = 0
    ) -> Any:
        """Call a script; tries once more, at once, on a new connection.

        Args:
            script: what to call.
            keys: its keys.
            args: its arguments.
            copies: how many replicas must have what it writes.

        Returns:
            Its answer; text as bytes.

        Raises:
            NotCopiedError: too few replicas have it by now.
            redis.exceptions.RedisError: Redis is away, or refused.
        """
        try:
            return self._send(pack("EVALSHA", script.sha, keys, args), copies)
        except NoScriptError:
            # It was restarted, or its scripts were flushed; this makes it remember the text.
            return self._send(pack("EVAL", script.text, keys, args), copies)

    def _send(self, command: bytes, copies: int) -> Any:
        if not copies:
            return self._ask(command)
        answer, copied = self._ask(command + wait_for(copies), 2)
        for error in (answer, copied):
            if isinstance(error, ResponseError):
                raise error
        if copied < copies:
            raise NotCopiedError(copied, copies)
        return answer

    def _ask(self, command: bytes, answers: int = 1) -> Any:
        if self._pid != os.getpid():
            # Prefork: the connections that were copied from the parent are the parent's.
            self._pid, self._idle = os.getpid(), []
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._pool.get_connection(*_NAMED)
        if is_stale(connection):
            connection.connect()
        failures = 0
        while True:
            try:
                connection.send_packed_command((command,))
                if answers > 1:
                    answer = [_answer(connection) for _ in range(answers)]
                else:
                    answer = connection.read_response()
            except ResponseError:
                self._idle.append(connection)
                raise
            except BaseException as error:
                # Also when a signal (a soft limit) ended the wait: the answer that is still to come
                # must not be taken for that of the next call.
                connection.disconnect()
                self._pool.release(connection)
                failures += 1
                again = isinstance(error, RedisConnectionError | RedisTimeoutError)
                if not again or failures > ATTEMPTS_MORE:
                    raise
            else:
                self._idle.append(connection)
                return answer
            # Not an idle one: what cut this connection has cut those, too.
            connection = self._pool.get_connection(*_NAMED)


def _answer(connection: Any) -> Any:
    """Return an answer, or the error in its place: more answers follow."""
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def wait_for(copies: int) -> bytes:
    """Write the command that waits until replicas have what this connection wrote."""
    return f"*3\r\n$4\r\nWAIT\r\n${len(str(copies))}\r\n{copies}\r\n{_WAIT_MS}".encode()


async def call_script(
    client: redis.asyncio.Redis, script: Script, keys: Sequence[str], args: Sequence[str | int]
) -> Any:
    """Call a script from a coroutine.

    Returns:
        Its answer; text as bytes.

    Raises:
        redis.exceptions.RedisError: Redis is away, or refused.
    """
    execute: Callable[..., Awaitable[Any]] = client.execute_command
    try:
        return await execute("EVALSHA", script.sha, len(keys), *keys, *args)
    except NoScriptError:
        return await execute("EVAL", script.text, len(keys), *keys, *args)


def pack(command: str, script: str, keys: Sequence[str], args: Sequence[str | int]) -> bytes:
    """Write a command as RESP does: an array of strings with their lengths in bytes."""
    parts = [f"*{3 + len(keys) + len(args)}\r\n"]
    for one in (command, script, len(keys), *keys, *args):
        text = one if type(one) is str else str(one)
        length = len(text) if text.isascii() else len(text.encode())
        parts.append(f"${length}\r\n{text}\r\n")
    return "".join(parts).encode()
