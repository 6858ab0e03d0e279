"""Many tasks are revoked, each as DELETE /v1/tasks/{id} does it."""

import asyncio
from collections.abc import Mapping, Sequence

from gateway.access.known_ids import KnownIds, unknown_task_id
from gateway.access.task_id import IssuedId
from gateway.endings.callback_events import CallbackEvents
from gateway.endings.revocation import Revocation
from gateway.errors import Problem
from gateway.history.rows import Item
from gateway.operating.history_work import Slice, passing


class Revoking:
    """Revokes tasks.

    Args:
        known_ids: Reads their ids.
        revocation: Revokes one.
        events: Announces ends to those who want to be called.
    """

    def __init__(self, known_ids: KnownIds, revocation: Revocation, events: CallbackEvents) -> None:
        self._known_ids = known_ids
        self._revocation = revocation
        self._events = events

    def __repr__(self) -> str:
        """Say what does it."""
        return f"<Revoking {self._revocation!r}>"

    async def revoke(self, one: Slice, items: Sequence[Item]) -> dict[int, str | None]:
        """Revoke tasks; return what became of those that are settled."""
        known = await self._known_ids.of_tasks(one.caller, [item.id for item in items])
        outcomes = await asyncio.gather(*(self._revoke(one, item, known) for item in items))
        return {
            item.n: None if problem is None else problem.code
            for item, problem in zip(items, outcomes, strict=True)
            if problem is None or not passing(problem)
        }

    async def _revoke(
        self, one: Slice, item: Item, known: Mapping[str, IssuedId | None]
    ) -> Problem | None:
        """Revoke one task; return why it was not, or may not have been."""
        try:
            if item.id not in known:
                raise unknown_task_id()
            revoked = await self._revocation.revoke(
                item.id,
                known[item.id],
                terminate=one.taken.terminate,
                tenant=self._known_ids.tenant_of(one.caller, item.id),
                by=one.operation.id,
            )
        except Problem as problem:
            return problem
        if revoked.get("state") == "REVOKED":
            await self._events.revoked(item.id)
        return None
