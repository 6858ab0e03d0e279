"""What became of the tasks of a group: one JSON object, made at once or in pieces.

In pieces, no more than one part of the states is in memory. Redis is read twice for them, and the
object has another order: `tasks`, what was counted on the way, and `results`, which are those of
the tasks as they were shown.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any

import orjson

from gateway.access.task_id import IssuedId, claims, vouched_for
from gateway.errors import Problem
from gateway.states.reading import States
from gateway.states.state import State


class GroupStates:
    """A group, and the states of its tasks."""

    def __init__(self, members: list[Any], states: Mapping[str, State]) -> None:
        self._members = members
        self._states = states

    async def ready(self) -> bool:
        """Return whether all have ended."""
        return all(state.final for state in self._states.values())

    def to_json(self, group_id: str, *, admin: bool) -> bytes:
        """Return the JSON object; results in the order of the request, null while there is none.

        Args:
            group_id: The group.
            admin: Show tracebacks.
        """
        tally = Tally()
        for state in self._states.values():
            tally.add(state)
        results = b"".join(
            piece if isinstance(piece, bytes) else self._states[piece].result or b"null"
            for piece in _shape(self._members)
        )
        tasks = b",".join(state.to_json(admin=admin) for state in self._states.values())
        return b'{%b,"results":%b,"tasks":[%b]}' % (tally.to_json(group_id), results, tasks)


class LongGroup:
    """A group whose states are too many to hold.

    Args:
        members: From `Groups.members`.
        issued: What the id of each task says of itself.
        states: Reads states.
    """

    def __init__(self, members: list[Any], issued: dict[str, IssuedId], states: States) -> None:
        self._members = members
        self._issued = issued
        self._states = states

    async def ready(self) -> bool:
        """Return whether all have ended.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        async for state in self._read(self._issued):
            if not state.final:
                return False
        return True

    async def pieces(self, group_id: str, *, admin: bool) -> AsyncGenerator[bytes, None]:
        """Make the JSON object.

        Args:
            group_id: The group.
            admin: Show tracebacks.

        Raises:
            Problem: `state-unavailable`: Redis is away, or a result has gone, or is another, since
                its task was shown.
        """
        tally = Tally()
        shown: dict[str, int] = {}
        separator = b'{"tasks":['
        async for state in self._read(self._issued):
            tally.add(state)
            if state.result is not None:
                shown[state.id] = hash(state.result)
            yield separator
            yield state.to_json(admin=admin)
            separator = b","
        yield b'],%b,"results":' % tally.to_json(group_id)
        results = self._read(one for one in leaves(self._members) if one in shown)
        for piece in _shape(self._members):
            if isinstance(piece, bytes):
                yield piece
            elif piece in shown:
                result = (await anext(results)).result
                if result is None or hash(result) != shown[piece]:
                    raise Problem("state-unavailable", f"the result of {piece} has changed")
                yield result
            else:
                yield b"null"
        yield b"}"

    def _read(self, ids: Iterable[str]) -> AsyncGenerator[State, None]:
        return self._states.read_each(ids, self._issued)


class Tally:
    """How many tasks of a group are in which state."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._ended = 0

    def add(self, state: State) -> None:
        """Count one task."""
        self._counts[state.state or state.code or "untracked"] += 1
        self._ended += state.final

    def to_json(self, group_id: str) -> bytes:
        """Return the members of the JSON object that say it."""
        total = self._counts.total()
        counted = {
            "id": group_id,
            "total": total,
            "completed": self._ended,
            "ready": self._ended == total,
            "successful": self._counts["SUCCESS"] == total,
            "counts": self._counts,
        }
        return orjson.dumps(counted)[1:-1]


def issued_ids(members: list[Any]) -> dict[str, IssuedId]:
    """Return what each id says of itself; Celery's client's are vouched for."""
    return {one: claims(one) or vouched_for(one) for one in leaves(members)}


def leaves(members: list[Any]) -> Iterator[str]:
    """Return the ids of all tasks of a group, of groups inside it, too."""
    return (piece for piece in _shape(members) if isinstance(piece, str))


def _shape(members: list[Any]) -> Iterator[str | bytes]:
    """Yield the JSON array of a group's results: its punctuation, and an id for each result."""
    separator = b"["
    for member in members:
        yield separator
        if member[1] is not None:
            yield from _shape(member[1])
        else:
            head = member[0]
            yield str(head[0] if isinstance(head, list) else head)
        separator = b","
    yield b"]" if members else b"[]"
