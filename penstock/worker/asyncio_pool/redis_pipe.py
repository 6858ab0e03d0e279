"""One connection to Redis for the scripts of all coroutines.

What a turn of the loop asks is one write, and answers come in the order of the questions. A call
through redis-py's client costs ten times as much as all the rest of a change of state. It connects
and authenticates here, too; then the connection's bytes are read by `_Replies`, which knows the
kinds of answers that scripts give.

A server that is away answers each call with an error of redis-py; who called tries again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from penstock.redis_connections import is_stale
from penstock.wire.scripts import Script
from penstock.worker.redis_client import CONNECT_TIMEOUT_S, SOCKET_TIMEOUT_S, async_client
from penstock.worker.results.script_calls import NotCopiedError, ScriptCall, pack, wait_for

_KINDS: dict[str, type[ResponseError | AuthenticationError]] = {
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "NOPERM": NoPermissionError,
    "NOAUTH": AuthenticationError,
    "WRONGPASS": AuthenticationError,
}
_WAIT = ScriptCall(Script(""), (), ())
"""In the place of a script: how many replicas have what was written."""
LOOK_S = 1.0
"""How often the oldest question is looked at."""

OnAnswer = Callable[[Any], None]
"""Takes an answer (bytes, an integer or None), or the RedisError in its place."""


class _Question(NamedTuple):
    call: ScriptCall
    on_answer: OnAnswer
    asked_at: float


class RedisPipe(asyncio.Protocol):
    """Calls scripts; for one event loop, whose thread alone uses it.

    Args:
        url: of Redis.
    """

    def __init__(self, url: str) -> None:
        # RESP 2: its answers to scripts are of four kinds, and nothing comes unasked.
        self._client = async_client(url, protocol=2)
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._connection: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent: list[tuple[bytes, _Question]] = []
        self._uncopied: list[tuple[_Question, Any]] = []
        """Answers that count once replicas have what was written."""
        self._copies = 0
        """Wanted by what is unsent."""
        self._open: deque[_Question] = deque()
        self._replies = _Replies()
        self._flush_is_due = False
        self._look: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        """Tell how many answers are awaited."""
        return f"<RedisPipe {len(self._open)} asked, {len(self._unsent)} unsent>"

    def call(self, call: ScriptCall, on_answer: OnAnswer) -> None:
        """Call a script; the answer comes later."""
        self._ask(pack("EVALSHA", call.script.sha, call.keys, call.args), call, on_answer)

    def _ask(self, command: bytes, call: ScriptCall, on_answer: OnAnswer) -> None:
        self._unsent.append((command, _Question(call, on_answer, time.monotonic())))
        self._copies = max(self._copies, call.copies)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if self._connection is not None and is_stale(self._connection):
            self._lose()
        if self._transport is None:
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._connect())
            return
        unsent, self._unsent = self._unsent, []
        if self._copies:  # one wait for all that is sent now
            copies, self._copies = self._copies, 0
            unsent.append((wait_for(copies), _Question(_WAIT, self._copied, time.monotonic())))
        self._open.extend(question for _, question in unsent)
        self._transport.write(b"".join([command for command, _ in unsent]))
        if self._look is None:
            self._look = self._loop.call_later(LOOK_S, self._look_at_oldest)

    async def _connect(self) -> None:
        error: Exception | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S + SOCKET_TIMEOUT_S):
                await self._open_connection()
        except (RedisError, OSError, TimeoutError) as failed:
            error = failed if isinstance(failed, RedisError) else RedisConnectionError(repr(failed))
        except Exception as failed:  # noqa: BLE001  # whoever asked must be answered
            error = RedisConnectionError(repr(failed))
        finally:
            self._connecting = None
        if error is None:
            self._flush()
            return
        unsent, self._unsent = self._unsent, []
        for _, question in unsent:
            question.on_answer(error)

    async def _open_connection(self) -> None:
        pool: Any = self._client.connection_pool
        connection = pool.make_connection()
        await connection.connect()
        self._connection = connection
        transport = connection._writer.transport  # noqa: SLF001  # the handshake is redis-py's
        self._replies = _Replies()
        transport.set_protocol(self)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand each answer to who asked."""
        for answer in self._replies.feed(data):
            question = self._open.popleft()
            if isinstance(answer, ResponseError) and str(answer).startswith("NOSCRIPT"):
                # It was restarted, or its scripts were flushed; this makes it remember the text.
                call = question.call
                text = pack("EVAL", call.script.text, call.keys, call.args)
                self._ask(text, call, question.on_answer)
            elif question.call.copies and not isinstance(answer, Exception):
                self._uncopied.append((question, answer))
            else:
                question.on_answer(answer)
                if isinstance(answer, ReadOnlyError) and self._transport is not None:
                    self._lose()  # the primary has become a replica

    def _copied(self, copies: Any) -> None:
        """Hand on the answers of what so many replicas have."""
        uncopied, self._uncopied = self._uncopied, []
        for question, answer in uncopied:
            wanted = question.call.copies
            if isinstance(copies, Exception):
                question.on_answer(copies)
            else:
                question.on_answer(answer if copies >= wanted else NotCopiedError(copies, wanted))

    def _lose(self) -> None:
        """Cut the connection; the next one finds the primary of that time."""
        self._transport.abort()
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer all questions with an error; the next one connects again."""
        self._transport = self._connection = None
        error = RedisConnectionError(f"the connection to Redis was lost: {exc!r}")
        lost, self._open = self._open, deque()
        for question in lost:
            question.on_answer(error)
        self._copied(error)

    def _look_at_oldest(self) -> None:
        self._look = None
        if not self._open or self._transport is None:
            return
        if time.monotonic() - self._open[0].asked_at > SOCKET_TIMEOUT_S:
            lost, self._open = self._open, deque()
            self._transport.abort()
            error = RedisTimeoutError(f"Redis did not answer within {SOCKET_TIMEOUT_S:g} s")
            for question in lost:
                question.on_answer(error)
            return
        self._look = self._loop.call_later(LOOK_S, self._look_at_oldest)


class _Replies:
    """Reads RESP 2: simple strings, errors, integers and bulk strings."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Any]:
        """Return the answers that are complete; an error is a value.

        Raises:
            RedisConnectionError: that is something else; the connection is of no use any more.
        """
        if self._rest:
            data = self._rest + data
        answers: list[Any] = []
        begin = 0
        while True:
            end = data.find(b"\r\n", begin)
            if end < 0:
                break
            kind, line = data[begin], data[begin + 1 : end]
            if kind == 0x24:  # $
                length = int(line)
                if length < 0:
                    answers.append(None)
                    begin = end + 2
                    continue
                begin_of_next = end + 4 + length
                if begin_of_next > len(data):
                    break
                answers.append(data[end + 2 : end + 2 + length])
                begin = begin_of_next
                continue
            if kind == 0x3A:  # :
                answers.append(int(line))
            elif kind == 0x2B:  # +
                answers.append(line)
            elif kind == 0x2D:  # -
                answers.append(_error(line.decode(errors="replace")))
            else:
                raise RedisConnectionError(f"an answer begins with {chr(kind)!r}")
            begin = end + 2
        self._rest = data[begin:]
        return answers


def _error(text: str) -> Exception:
    kind = _KINDS.get(text.partition(" ")[0], ResponseError)
    return kind(text)
