"""Changes that are written into the audit log: handlers say which they are, and how many it was.

    @audited("queue.purge")
    async def purge(request): … noted(request, "default", count=10_000)

A change that was refused for its form, or to a caller who may not, changed nothing and is not
written.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

from aiohttp import web

from gateway.access.auth import CALLER
from gateway.api.parts import OPERATING
from gateway.errors import Problem
from gateway.http.problems import REQUEST_ID
from gateway.operating.audit import Change

Answer = TypeVar("Answer", bound=web.StreamResponse)
Handler = Callable[[web.Request], Awaitable[Answer]]

_NOTHING_CHANGED = frozenset({400, 401, 403, 404, 409, 413, 415, 421, 422, 429})


@dataclass(slots=True)
class _Note:
    what: str
    count: int = 1


_NOTE: web.RequestKey[_Note | None] = web.RequestKey("audit")


def noted(request: web.Request, what: str, count: int = 1) -> None:
    """Say what a change is about; before it begins, and again once more is known.

    Args:
        request: The request that changes it.
        what: A queue, a worker, a task id, a schedule.
        count: How many tasks, letters or workers.
    """
    request[_NOTE] = _Note(what, count)


def unchanged(request: web.Request) -> None:
    """Say that a request changed nothing after all, and is not to be written."""
    request[_NOTE] = None


def audited(action: str) -> Callable[[Handler[Answer]], Handler[Answer]]:
    """Have a handler's changes written into the audit log.

    Args:
        action: A noun and a verb: `worker.shutdown`.
    """

    def wrap(handler: Handler[Answer]) -> Handler[Answer]:
        @wraps(handler)
        async def handle(request: web.Request) -> Answer:
            request[_NOTE] = _Note("/".join(request.match_info.values()))
            try:
                answer = await handler(request)
            except Problem as problem:
                if problem.status not in _NOTHING_CHANGED or "revoked" in problem.members:
                    await _write(request, action, problem.code)
                raise
            await _write(request, action, "done")
            return answer

        return handle

    return wrap


async def _write(request: web.Request, action: str, outcome: str) -> None:
    caller, note = request[CALLER], request[_NOTE]
    if note is None:
        return
    await request.app[OPERATING].audit.append(
        Change(
            at=time.time(),
            who=caller.name,
            tenant=caller.tenant,
            action=action,
            what=note.what,
            count=note.count,
            outcome=outcome,
            request_id=request[REQUEST_ID],
        )
    )
