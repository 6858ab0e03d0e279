"""Groups of tasks: who belongs to them.

celery-taskset-meta-<id>   as Celery's `GroupResult.save` writes it, for `GroupResult.restore`
penstock:header:<id>       the same bytes, of a chord's header: were it saved under the first
name, workers would read every result again to call the body
"""

import time
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.access.kept_results import KeptResults
from gateway.canvas.canvas import Result
from gateway.canvas.group_states import GroupStates, LongGroup, issued_ids, leaves
from gateway.errors import Problem
from gateway.redis.client import RedisClient
from gateway.states.reading import States
from penstock.wire.kept_results import BESIDES, LONGEST_S, gone_by, usage_key
from penstock.wire.keys import DAY_S, ENDED_EXTRA_S, HEADER_PREFIX


class Groups:
    """Keeps and reads groups.

    Args:
        redis: From `make_redis`.
        states: Reads states.
        result_expires_s: How long results are kept.
        kept: Knows which tenants keep too many.
    """

    def __init__(
        self, redis: RedisClient, states: States, result_expires_s: int, kept: KeptResults
    ) -> None:
        self.check_room = kept.check
        """Refuse a group, as a task whose result is kept, while the tenant keeps too many."""
        self._redis = redis
        self._states = states
        self._kept_s = result_expires_s + ENDED_EXTRA_S

    async def keep(
        self,
        groups: Mapping[str, Result],
        headers: frozenset[str],
        chord_sizes: Mapping[str, int],
        delay_s: int,
        tenant: str,
    ) -> None:
        """Write down, before anything is published, who belongs together.

        Args:
            groups: The results of each group.
            headers: Those which are headers of chords without groups in them.
            chord_sizes: How many ends each chord that begins now waits for.
            delay_s: When the last task of the canvas is due, seconds from now.
            tenant: Is charged for it.

        Raises:
            Problem: `state-unavailable` (queued: no).
        """
        keep_s, names = self._kept_s + delay_s, self._redis.keys
        if not groups:
            return
        charged = 0
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for group_id, result in groups.items():
                    prefix = HEADER_PREFIX if group_id in headers else names.group
                    record = orjson.dumps({"result": result})
                    pipe.set(f"{prefix}{group_id}", record, ex=keep_s)
                    charged += len(record) + BESIDES
                for group_id, count in chord_sizes.items():
                    # Celery's `RedisBackend.set_chord_size`.
                    pipe.delete(f"{names.group}{group_id}.c")
                    pipe.set(f"{names.group}{group_id}.s", count, ex=keep_s)
                # By days, so that countdowns of every length make few fields.
                gone = -(-gone_by(time.time(), keep_s) // DAY_S) * DAY_S
                pipe.hincrby(usage_key(tenant), str(gone), charged)
                pipe.expire(usage_key(tenant), 2 * LONGEST_S)
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
                if isinstance(members, list) and all(leaves(members)):
                    return members
            except (ValueError, TypeError, KeyError, IndexError, AttributeError):
                continue
        return None

    async def read(self, members: list[Any]) -> GroupStates | LongGroup:
        """Return what became of the tasks of a group, of groups inside it, too.

        Args:
            members: From `members`.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        issued = issued_ids(members)
        first = await self._states.read_first(issued)
        if len(first) < len(issued):
            return LongGroup(members, issued, self._states)
        return GroupStates(members, first)
