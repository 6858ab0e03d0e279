"""What one tenant may keep in Redis. Pure."""

from dataclasses import dataclass

from gateway.errors import Problem, Queued


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Bounds of each tenant."""

    schedules: int = 1000
    """How many periodic tasks. `SCHEDULE_QUOTA`."""
    schedule_bytes: int = 16 * 1024 * 1024
    """JSON of their definitions together. `SCHEDULE_QUOTA_BYTES`."""
    idempotency_bytes: int = 64 * 1024 * 1024
    """Records of idempotency keys of a day. `IDEMPOTENCY_QUOTA_BYTES`."""
    callback_bytes: int = 16 * 1024 * 1024
    """Callback URLs kept for tasks that have not begun. `CALLBACK_QUOTA_BYTES`."""
    result_bytes: int | None = None
    """Results and event streams of tasks that have ended; 0: no bound; None: three quarters of what
    Redis may take (`maxmemory`), no bound where it has none. `RESULT_QUOTA_BYTES`."""


def over_quota(
    quota: str, detail: str, *, retry_after_s: int, queued: Queued | None = None
) -> Problem:
    """Refuse what would take a tenant beyond one of its quotas.

    Args:
        quota: Its name, a member of the answer.
        detail: What is kept, and the bound.
        retry_after_s: When room may be there.
        queued: As of every problem.
    """
    members = {"quota": quota}
    return Problem(
        "rate-limited", detail, queued=queued, retry_after_s=retry_after_s, members=members
    )
