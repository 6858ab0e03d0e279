"""Which ids a caller may know."""

import re
from collections.abc import Iterable

from gateway.access.auth import Caller
from gateway.access.keyring import KeyRing
from gateway.access.task_id import IssuedId, TaskIds
from gateway.errors import Problem

_FOREIGN = re.compile(r"[\x21-\x7e]{1,255}")
"""Ids that other publishers make: Celery takes any text, UUIDs as a rule."""


class KnownIds:
    """Tells the ids that a caller may ask about from all others.

    `admin` may ask about every tenant's, and about ids that others issued (then None): whether
    these exist, only Redis knows.

    Args:
        task_ids: Verifies ids.
        keyring: Knows the tenants.
    """

    def __init__(self, task_ids: TaskIds, keyring: KeyRing) -> None:
        self._task_ids = task_ids
        self._keyring = keyring

    def of_tasks(self, caller: Caller, ids: Iterable[str]) -> dict[str, IssuedId | None]:
        """Return those of the ids that the caller may ask about, in their order."""
        tenants = self._tenants(caller)
        known: dict[str, IssuedId | None] = {}
        for text in ids:
            issued = self._task_ids.verify(text, tenants)
            if issued is not None and issued.group:
                continue
            if issued is not None or (caller.admin and _FOREIGN.fullmatch(text)):
                known[text] = issued
        return known

    def of_task(self, caller: Caller, task_id: str) -> IssuedId | None:
        """Return what the id says of itself; None when others issued it.

        Raises:
            Problem: `unknown-task-id`.
        """
        known = self.of_tasks(caller, (task_id,))
        if task_id not in known:
            raise unknown_task_id()
        return known[task_id]

    def of_group(self, caller: Caller, group_id: str) -> IssuedId | None:
        """Return what the id of a group says of itself; None when others issued it.

        Raises:
            Problem: `unknown-task-id`.
        """
        issued = self._task_ids.verify(group_id, self._tenants(caller))
        if issued is None and caller.admin and _FOREIGN.fullmatch(group_id):
            return None
        if issued is None or not issued.group:
            raise Problem("unknown-task-id", "this id of a group was never issued to your tenant")
        return issued

    def _tenants(self, caller: Caller) -> set[str]:
        return {caller.tenant, *(self._keyring.tenants if caller.admin else ())}


def unknown_task_id() -> Problem:
    """Return the refusal of an id that was never issued to the caller's tenant."""
    return Problem("unknown-task-id", "this id was never issued to your tenant")
