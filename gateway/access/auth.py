"""Who is calling and what they may do."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from aiohttp import web

from gateway.access.key_tables import SCOPES
from gateway.errors import Problem
from gateway.sharing.tenant import TENANT


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Caller:
    """One key's holder. Compared by identity: it is a key of caches on the hot path."""

    name: str
    """The key's name, for logs and rate budgets."""
    tenant: str
    """Whose tasks and documents these are; keys may share one."""
    scopes: frozenset[str] = SCOPES
    """Allowed scopes."""
    tasks: tuple[str, ...] | None = None
    """Allowed task names as fnmatch patterns, of privileged ones exact names; None: every task that
    is not privileged."""
    queues: tuple[str, ...] | None = None
    """Allowed queues as fnmatch patterns; None: all."""
    collections: tuple[str, ...] | None = None
    """Allowed collections as fnmatch patterns; None: all."""
    rate: float | None = None
    """Pieces of work each second over all gateways, see `gateway.access.work`; None: no bound."""
    burst: float | None = None
    """How many may be done at once; None where `rate` is."""
    digest: bytes = field(default=b"", repr=False)
    """SHA-256 of the key; empty where none is configured."""

    @property
    def rights(self) -> tuple[object, ...]:
        """Return what the key may do, and for whom: all but its rate."""
        return self.tenant, self.scopes, self.tasks, self.queues, self.collections

    @property
    def admin(self) -> bool:
        """Return whether the caller may do and see everything."""
        return "admin" in self.scopes

    def may(self, scope: str) -> bool:
        """Return whether the scope is allowed."""
        return scope in self.scopes or self.admin

    def may_submit(self, task: str, *, privileged: bool) -> bool:
        """Return whether the task may be submitted.

        A privileged one needs `admin` or its exact name as an entry: a pattern was written with
        other tasks in mind, however close it comes (`scripts.*`, `[a-z]*`).
        """
        if self.admin:
            return True
        if self.tasks is None:
            return not privileged
        if privileged:
            return task in self.tasks
        return _any(task, self.tasks)

    def may_queue(self, queue: str) -> bool:
        """Return whether messages may be published to the queue."""
        return self.admin or self.queues is None or _any(queue, self.queues)

    def may_ingest(self, collection: str) -> bool:
        """Return whether documents may be ingested to the collection."""
        return self.collections is None or self.admin or _any(collection, self.collections)


def _any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


ANONYMOUS = Caller(name="anonymous", tenant="anonymous")
"""The caller when no key is configured."""

CALLER = web.RequestKey("caller", Caller)


def require(request: web.Request, scope: str) -> Caller:
    """Return the request's caller, who has the scope.

    Raises:
        Problem: `forbidden` (queued: no).
    """
    caller = request[CALLER]
    if scope not in caller.scopes and not caller.admin:
        raise Problem("forbidden", f"the key lacks the scope {scope!r}", queued="no")
    TENANT.set(caller.tenant)
    return caller
