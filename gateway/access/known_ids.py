"""Which ids a caller may know."""

import re
from collections.abc import Iterable

from aiohttp import web

from gateway.access.auth import Caller
from gateway.access.task_id import IssuedId
from gateway.errors import Problem
from gateway.parts import KEYRING, TASK_IDS

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
        if issued is not None and issued.group:
            continue
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


def known_group(app: web.Application, caller: Caller, group_id: str) -> IssuedId | None:
    """What the id of a group says of itself; None when others issued it.

    Raises:
        Problem: `unknown-task-id`.
    """
    tenants = {caller.tenant, *(app[KEYRING].tenants if caller.admin else ())}
    issued = app[TASK_IDS].verify(group_id, tenants)
    if issued is None and caller.admin and _FOREIGN.fullmatch(group_id):
        return None
    if issued is None or not issued.group:
        raise Problem("unknown-task-id", "this id of a group was never issued to your tenant")
    return issued


def unknown_task_id() -> Problem:
    """What is told of an id that was never issued to the caller's tenant."""
    return Problem("unknown-task-id", "this id was never issued to your tenant")
