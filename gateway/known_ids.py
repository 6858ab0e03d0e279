"""Which ids a caller may know."""

import re
from collections.abc import Iterable

from aiohttp import web

from gateway.auth import Caller
from gateway.errors import Problem
from gateway.parts import KEYRING, TASK_IDS
from gateway.task_id import IssuedId

_FOREIGN = re.compile(r"[\x21-\x7e]{1,255}")
"""Ids that other publishers make: Celery takes any text, UUIDs as a rule."""


def known_ids(
    app: web.Application, caller: Caller, ids: Iterable[str]
) -> dict[str, IssuedId | None]:
    """Those of the ids that the caller may ask about, in their order.

    `admin` may ask about every tenant's, and about ids that others issued (then None): whether
    these exist, only Redis knows.
    """
    task_ids = app[TASK_IDS]
    tenants = {caller.tenant, *(app[KEYRING].tenants if caller.admin else ())}
    known: dict[str, IssuedId | None] = {}
    for text in ids:
        issued = task_ids.verify(text, tenants)
        if issued is not None or (caller.admin and _FOREIGN.fullmatch(text)):
            known[text] = issued
    return known


def known_id(app: web.Application, caller: Caller, task_id: str) -> IssuedId | None:
    """What the id says of itself; None when others issued it.

    Raises:
        Problem: `unknown-task-id`.
    """
    known = known_ids(app, caller, (task_id,))
    if task_id not in known:
        raise unknown_task_id()
    return known[task_id]


def unknown_task_id() -> Problem:
    """What is told of an id that was never issued to the caller's tenant."""
    return Problem("unknown-task-id", "this id was never issued to your tenant")
