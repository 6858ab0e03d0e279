"""Redis for the history process: one pool, every command bounded in time; its only home here."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from penstock.redis_connections import async_pool_options
from penstock.wire.scripts import script

COMMAND_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 2.0
REDIS_AWAY = (RedisError, OSError, TimeoutError)
"""What commands raise while Redis is away, or refuses."""
Entry = tuple[str, dict[bytes, bytes]]
"""Of a stream: its id, its fields."""


Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class Batch(Generic[Content]):
    """What stands in a stream behind a position."""

    intact: bool
    """Whether the entry at the position is still there, so that nothing behind it was lost."""
    first: str
    """The id of its first entry; empty: there is none."""
    last: str
    count: int
    content: Content


class HistoryRedis:
    """The commands that the writer needs.

    Every method raises one of `REDIS_AWAY` when Redis does not answer.

    Args:
        url: as `penstock.wire.redis_url` reads it.
    """

    def __init__(self, url: str) -> None:
        options = async_pool_options(
            url,
            max_connections=16,
            timeout=COMMAND_TIMEOUT_S,
            socket_timeout=COMMAND_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
            protocol=2,
        )
        self._redis = Redis.from_pool(BlockingConnectionPool(**options))
        self._execute: Callable[..., Awaitable[Any]] = self._redis.execute_command

    async def make_stream(self, name: str, keep_s: int) -> bool:
        """Make a stream unless it is there, and keep it for so long; return whether it was made.

        It begins with an entry that says nothing: the position of who has read nothing else, so
        that it shows when what follows it is lost.
        """
        made = not await self._redis.exists(name)
        if made:
            await self._execute("XADD", name, "*", "", "")
        await self._redis.expire(name, keep_s)
        return made

    async def remove(self, name: str) -> None:
        """Delete a key."""
        await self._redis.delete(name)

    async def set_text(self, name: str, text: str, keep_s: int) -> None:
        """Store a string for so long."""
        await self._redis.set(name, text, ex=keep_s)

    async def read(self, name: str, position: str, count: int) -> "Batch[list[Entry]]":
        """Return the entries of a stream behind a position.

        Args:
            name: of the stream.
            position: the id of the entry that was read last; `0-0`: none was.
            count: entries at most.
        """
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.execute_command("XRANGE", name, position, position, "COUNT", 1)
            pipe.execute_command("XRANGE", name, next_id(position), "+", "COUNT", count)
            at, found = await pipe.execute()
        entries = [(_text(one[0]), _fields(one[1])) for one in found]
        first, last = (entries[0][0], entries[-1][0]) if entries else ("", "")
        return Batch(bool(at), first, last, len(entries), entries)

    async def read_names(self, name: str, position: str, count: int) -> "Batch[list[str]]":
        """Return the records that entries of a stream behind a position name, each once, alike."""
        at, first, last, found, lengths, names = await self._script(
            "history_changes", [name], [position, next_id(position), count]
        )
        content = [_text(one) for one in pieces(lengths, names)]
        return Batch(bool(at), _text(first), _text(last), int(found), content)

    async def _script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        found = script(name)
        try:
            return await self._execute("EVALSHA", found.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self._execute("EVAL", found.text, len(keys), *keys, *args)

    async def trim(self, name: str, position: str) -> None:
        """Delete what stands before a position; the entry at it stays, as the mark of it."""
        try:
            await self._execute("XTRIM", name, "MINID", position)
        except ResponseError:
            return  # Redis 6.0 knows no MINID: the stream is bounded by its length

    async def heads(self, names: Sequence[str], octets: int) -> list[bytes]:
        """Return the beginnings of strings; empty: there is none, or it is no string."""
        if not names:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.execute_command("GETRANGE", name, 0, octets - 1)
            found = await pipe.execute(raise_on_error=False)
        return [one if isinstance(one, bytes) else b"" for one in found]

    async def records(
        self, known: Sequence[tuple[str, str]], octets: int
    ) -> list[tuple[bytes, list[tuple[str, bytes]]]]:
        """Return the beginnings of records, each with its events as far as it does not tell them.

        Args:
            known: names of records, each with the cursor of the event that is known last.
            octets: of a beginning; it is empty where there is no record.
        """
        if not known:
            return []
        names, cursors = [name for name, _ in known], [cursor for _, cursor in known]
        flat = pieces(*await self._script("history_records", names, [octets, *cursors]))
        return [
            (head, [_event(line) for line in events.split(b"\n")] if events else [])
            for head, events in zip(flat[::2], flat[1::2], strict=True)
        ]

    async def scan(self, cursor: int, pattern: str, count: int) -> tuple[int, list[str]]:
        """Return the next cursor of a walk through all keys, and the names that match."""
        following, names = await self._redis.scan(cursor, match=pattern, count=count)
        return int(following), [_text(name) for name in names]

    async def fields(self, name: str) -> dict[bytes, bytes]:
        """Return the fields of a hash."""
        return _fields(await self._execute("HGETALL", name))

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()


def pieces(lengths: bytes, text: bytes) -> list[bytes]:
    """Cut a text into pieces of these lengths: redis-py takes 9 µs for each value of an answer."""
    found, start = [], 0
    for length in map(int, lengths.split()):
        found.append(text[start : start + length])
        start += length
    return found


def _event(line: bytes) -> tuple[str, bytes]:
    cursor, _, text = line.partition(b" ")
    return cursor.decode(), text


def next_id(position: str) -> str:
    """Return the smallest id behind one: Redis 6.0 knows no open ranges."""
    ms, _, sequence = position.partition("-")
    return f"{ms}-{int(sequence or 0) + 1}"


def _text(word: bytes | str) -> str:
    return word if isinstance(word, str) else word.decode("utf-8", "replace")


def _fields(flat: Any) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else dict(flat)
