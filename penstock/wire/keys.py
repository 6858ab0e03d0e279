"""The keys in Redis: their names, what they hold, and how long each is kept.

    celery-task-meta-<id>          string   record of a task; channel of its notices: Celery's
    celery-taskset-meta-<id>       string   members of a group: Celery's
    penstock:header:<id>           string   members of a chord's header
    penstock:events:<id>           stream   changes of a task and lines of its output; none while
                                            the record tells them: it started, it ended
    penstock:ended:<id>            string   final state; outlives the record
    penstock:revoked:<id>          string   `1` revoked; `asked`: others were asked to revoke it
    penstock:copy:<id>             string   nonce of the one message that may start the task
    penstock:deaths:<id>           string   how many processes died under the task
    penstock:callback:<id>         string   callback URL of a task that has not begun
    penstock:called:<event>:<n>    string   that a callback was delivered
    penstock:idempotency:<tenant>:<hash>    string   what was answered to an idempotency key
    penstock:rate:<key name>       hash     token bucket of an API key
    penstock:kept:<what>:<tenant>  hash     octets that a tenant keeps, by when they are gone

Schedules, announcements and kept results are in `schedules`, `announcements` and `kept_results`.
"""

from typing import NamedTuple

DAY_S = 86_400
ENDED_EXTRA_S = 7 * DAY_S
"""How much longer than the record the fact is kept that the task ended."""
REVOKED_S = 90 * DAY_S
"""How long an id stays revoked, counted from when its task is due."""
COPY_S = 8 * DAY_S
"""How long only one of several messages with the same id may start."""
DEATHS_S = DAY_S
"""How long it is remembered that a process died under a task."""
EVENTS_LENGTH = 1000
"""Events kept of one task, about."""

RECORD_PREFIX = "celery-task-meta-"
"""Celery's `KeyValueStoreBackend.task_keyprefix`."""
GROUP_PREFIX = "celery-taskset-meta-"
"""Celery's `KeyValueStoreBackend.group_keyprefix`."""
HEADER_PREFIX = "penstock:header:"
"""Of chords' headers: workers would read every result of a group again, to call the body."""
CALLBACK_PREFIX = "penstock:callback:"
CALLED_PREFIX = "penstock:called:"
IDEMPOTENCY_PREFIX = "penstock:idempotency:"
RATE_PREFIX = "penstock:rate:"
KEPT_CALLBACKS_PREFIX = "penstock:kept:callbacks:"
KEPT_IDEMPOTENCY_PREFIX = "penstock:kept:idempotency:"


class TaskKeys(NamedTuple):
    """The keys of one task. A tuple: made for each change of state, and cheap to make."""

    record: str
    events: str
    ended: str
    revoked: str
    copy: str
    deaths: str

    @classmethod
    def of(cls, task_id: str) -> "TaskKeys":
        """Name the keys of a task."""
        return cls(
            f"{RECORD_PREFIX}{task_id}",
            f"penstock:events:{task_id}",
            f"penstock:ended:{task_id}",
            f"penstock:revoked:{task_id}",
            f"penstock:copy:{task_id}",
            f"penstock:deaths:{task_id}",
        )
