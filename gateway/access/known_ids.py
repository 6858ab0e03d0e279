"""Which ids a caller may know.

An id does not say whose it is: for `admin` each tenant has to be tried, a microsecond each. With
thousands of tenants that is milliseconds an id, so verdicts are remembered, the tenants whose ids
were asked for last are tried first, and many ids are looked at in slices.
"""

import asyncio
import re
import time
from collections.abc import Iterable

from gateway.access.auth import Caller
from gateway.access.keyring import KeyRing
from gateway.access.task_id import IssuedId, TaskIds, claims
from gateway.errors import Problem

_FOREIGN = re.compile(r"[\x21-\x7e]{1,255}")
"""Ids that other publishers make: Celery takes any text, UUIDs as a rule."""
_SLICE_S = 0.005
"""How long ids are looked at before others have their turn."""
_REMEMBERED = 16_384
"""Verdicts; some 3 MB."""


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
        self._tenants: frozenset[str] = frozenset()
        self._latest: dict[str, None] = {}
        """The same tenants, in the order in which ids of theirs were asked for."""
        self._verdicts: dict[str, str | None] = {}
        """Ids that `admin` asked for, with their tenants; None: no tenant's."""

    async def of_tasks(self, caller: Caller, ids: Iterable[str]) -> dict[str, IssuedId | None]:
        """Return those of the ids that the caller may ask about, in their order."""
        known: dict[str, IssuedId | None] = {}
        slice_began = time.monotonic()
        for text in ids:
            if time.monotonic() - slice_began > _SLICE_S:
                await asyncio.sleep(0)
                slice_began = time.monotonic()
            self._note(caller, text, known)
        return known

    def _note(self, caller: Caller, text: str, known: dict[str, IssuedId | None]) -> None:
        """Add the id of a task to those that are known, if the caller may ask about it."""
        issued = self._verify(caller, text)
        if issued is not None and issued.group:
            return
        if issued is not None or (caller.admin and _FOREIGN.fullmatch(text)):
            known[text] = issued

    def of_task(self, caller: Caller, task_id: str) -> IssuedId | None:
        """Return what the id says of itself; None when others issued it.

        Raises:
            Problem: `unknown-task-id`.
        """
        known: dict[str, IssuedId | None] = {}
        self._note(caller, task_id, known)
        if task_id not in known:
            raise unknown_task_id()
        return known[task_id]

    def of_group(self, caller: Caller, group_id: str) -> IssuedId | None:
        """Return what the id of a group says of itself; None when others issued it.

        Raises:
            Problem: `unknown-task-id`.
        """
        issued = self._verify(caller, group_id)
        if issued is None and caller.admin and _FOREIGN.fullmatch(group_id):
            return None
        if issued is None or not issued.group:
            raise Problem("unknown-task-id", "this id of a group was never issued to your tenant")
        return issued

    def tenant_of(self, caller: Caller, task_id: str) -> str | None:
        """Return whose an id is; None: of no tenant that the caller may ask about."""
        if self._verify(caller, task_id) is None:
            return None
        return (self._verdicts.get(task_id) if caller.admin else None) or caller.tenant

    def _verify(self, caller: Caller, text: str) -> IssuedId | None:
        """Return what an id says that was issued to the caller, for `admin` to any tenant."""
        if not caller.admin:
            return self._task_ids.verify(text, (caller.tenant,))
        if claims(text) is None:  # of any length
            return None
        if self._keyring.tenants is not self._tenants:
            self._tenants = self._keyring.tenants
            self._latest = dict.fromkeys(self._tenants)
            self._verdicts = {}
        if text in self._verdicts:
            tenant = self._verdicts.pop(text)
        else:
            tenant = self._task_ids.issued_to(text, reversed(self._latest))
        self._verdicts[text] = tenant
        if len(self._verdicts) > _REMEMBERED:
            del self._verdicts[next(iter(self._verdicts))]
        if tenant is None:  # the caller's own may have lost its key in this moment
            return self._task_ids.verify(text, (caller.tenant,))
        del self._latest[tenant]
        self._latest[tenant] = None
        return claims(text)


def unknown_task_id() -> Problem:
    """Return the refusal of an id that was never issued to the caller's tenant."""
    return Problem("unknown-task-id", "this id was never issued to your tenant")
