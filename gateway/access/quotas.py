"""The refusal of what would take a tenant beyond what it may keep in Redis."""

from gateway.errors import Problem, Queued


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
