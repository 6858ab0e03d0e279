"""The audit log: every change that an operator or a client makes to what is queued or runs.

    stream penstock:audit   at, who, tenant, action, what, count, outcome, request_id

Entries are appended and never changed; the stream keeps the last `KEPT` of them. Whoever keeps
them for longer reads them by `XREAD` or `XREADGROUP` from the id that it read last.
"""

import logging
from dataclasses import dataclass

from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from gateway.timestamps import rfc3339
from penstock.wire.keys import AUDIT_KEY

log = logging.getLogger(__name__)

KEPT = 100_000
"""Entries, about; some 250 octets each."""
WRITE_TIMEOUT_S = 1.0
"""What a change waits at most for its entry, when Redis is slow or away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change: who did what, to how many, and how it ended."""

    at: float
    """Unix seconds."""
    who: str
    """The name of the key; `anonymous` where none is configured."""
    tenant: str
    action: str
    """A word for the kind of change: `task.revoke`."""
    what: str
    """What was changed: a queue, a worker, a task id, a schedule."""
    count: int
    """How many tasks, letters or workers."""
    outcome: str
    """`done`, or the code of the refusal."""
    request_id: str

    def fields(self) -> dict[str, str]:
        """Return the fields of the entry."""
        return {
            "at": rfc3339(self.at),
            "who": self.who,
            "tenant": self.tenant,
            "action": self.action,
            "what": self.what,
            "count": str(self.count),
            "outcome": self.outcome,
            "request_id": self.request_id,
        }


class AuditLog:
    """Appends changes.

    Args:
        redis: Keeps them.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis.within(WRITE_TIMEOUT_S)

    def __repr__(self) -> str:
        """Name the stream."""
        return f"<AuditLog {AUDIT_KEY}>"

    async def append(self, change: Change) -> None:
        """Append a change to the stream; while Redis is away the log of the process has it."""
        fields = change.fields()
        try:
            await self._redis.append(AUDIT_KEY, fields, length=KEPT)
        except RedisAwayError as error:
            log.warning("audit-unwritten", extra={**fields, "reason": str(error)})
