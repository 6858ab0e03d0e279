"""Groups of tasks: who belongs to them, and what became of all.

celery-taskset-meta-<id>   as Celery's `GroupResult.save` writes it, for `GroupResult.restore`
penstock:header:<id>       the same bytes, of a chord's header: were it saved under the first
name, workers would read every result again to call the body
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.access.task_id import IssuedId, claims, vouched_for
from gateway.canvas.canvas import Result
from gateway.errors import Problem
from gateway.redis.client import RedisClient
from gateway.states.reading import States
from gateway.states.state import State
from penstock.wire.keys import ENDED_EXTRA_S, HEADER_PREFIX


class Groups:
    """Keeps and reads groups.

    Args:
        redis: From `make_redis`.
        states: Reads states.
        result_expires_s: How long results are kept.
    """

    def __init__(self, redis: RedisClient, states: States, result_expires_s: int) -> None:
        self._redis = redis
        self._states = states
        self._kept_s = result_expires_s + ENDED_EXTRA_S

    async def keep(
        self,
        groups: Mapping[str, Result],
        headers: frozenset[str],
        chord_sizes: Mapping[str, int],
        delay_s: int,
    ) -> None:
        """Write down, before anything is published, who belongs together.

        Args:
            groups: The results of each group.
            headers: Those which are headers of chords without groups in them.
            chord_sizes: How many ends each chord that begins now waits for.
            delay_s: When the last task of the canvas is due, seconds from now.

        Raises:
            Problem: `state-unavailable` (queued: no).
        """
        keep_s, names = self._kept_s + delay_s, self._redis.keys
        if not groups:
            return
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for group_id, result in groups.items():
                    prefix = HEADER_PREFIX if group_id in headers else names.group
                    record = orjson.dumps({"result": result})
                    pipe.set(f"{prefix}{group_id}", record, ex=keep_s)
                for group_id, size in chord_sizes.items():
                    # Celery's `RedisBackend.set_chord_size`.
                    pipe.delete(f"{names.group}{group_id}.c")
                    pipe.set(f"{names.group}{group_id}.s", size, ex=keep_s)
                await pipe.execute()
        except Problem as problem:
            raise Problem(
                problem.code,
                "groups and chords need Redis, which does not answer",
                queued="no",
            ) from problem

    async def members(self, group_id: str) -> list[Any] | None:
        """Return the results of a group as written: `[[id, parent], members or null]` each.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        keys = self._redis.keys.group + group_id, HEADER_PREFIX + group_id
        for found in await self._redis.mget(*keys):
            if found is None:
                continue
            try:
                _, members = orjson.loads(found)["result"]
                if isinstance(members, list) and all(task_ids(members)):
                    return members
            except (ValueError, TypeError, KeyError, IndexError, AttributeError):
                continue
        return None

    async def states(self, members: list[Any]) -> "GroupStates":
        """Return what became of the tasks of a group, of groups inside it, too.

        Args:
            members: From `members`.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        return GroupStates(members, await self._states.read(issued_ids(members)))


class GroupStates:
    """A group, and the states of its tasks."""

    def __init__(self, members: list[Any], states: Mapping[str, State]) -> None:
        self._members = members
        self._states = states

    @property
    def ready(self) -> bool:
        """Return whether all have ended."""
        return all(state.final for state in self._states.values())

    def to_json(self, group_id: str, *, admin: bool) -> bytes:
        """Return the JSON object; results in the order of the request, null while there is none.

        Args:
            group_id: The group.
            admin: Show tracebacks.
        """
        counts = Counter(_word(state) for state in self._states.values())
        ended = sum(state.final for state in self._states.values())
        head = orjson.dumps(
            {
                "id": group_id,
                "total": len(self._states),
                "completed": ended,
                "ready": self.ready,
                "successful": counts["SUCCESS"] == len(self._states),
                "counts": counts,
            }
        )
        results = b",".join(self._result(member) for member in self._members)
        tasks = b",".join(state.to_json(admin=admin) for state in self._states.values())
        return b'%b,"results":[%b],"tasks":[%b]}' % (head[:-1], results, tasks)

    def _result(self, member: Any) -> bytes:
        if member[1] is not None:
            return b"[%b]" % b",".join(self._result(inner) for inner in member[1])
        return self._states[_id(member)].result or b"null"


def _word(state: State) -> str:
    return state.state or state.code or "untracked"


def _id(member: Any) -> str:
    head = member[0]
    return str(head[0] if isinstance(head, list) else head)


def issued_ids(members: list[Any]) -> dict[str, IssuedId]:
    """Return what each id says of itself; Celery's client's are vouched for."""
    return {one: claims(one) or vouched_for(one) for one in task_ids(members)}


def task_ids(members: list[Any]) -> Iterator[str]:
    """Return the ids of all tasks of a group, of groups inside it, too."""
    for member in members:
        if member[1] is not None:
            yield from task_ids(member[1])
        else:
            yield _id(member)
