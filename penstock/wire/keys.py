"""The keys in Redis: their names, what they hold, and how long each is kept.

    celery-task-meta-<id>          string   record of a task; channel of its notices: Celery's
    celery-taskset-meta-<id>       string   members of a group: Celery's
    penstock:events:{<record>}     stream   changes of a task and lines of its output; none while
                                            the record tells them: it started, it ended
    penstock:ended:{<record>}      string   final state; outlives the record
    penstock:revoked:{<record>}    string   `1`, or the operation: revoked; `asked`: others were
                                            asked to revoke it
    penstock:copy:{<record>}       string   nonce of the one message that may start the task
    penstock:deaths:{<record>}     string   how many processes died under the task
    penstock:passed:{<record>}     string   that the gate has passed it on to workers of an app
    penstock:header:<id>           string   members of a chord's header
    penstock:callback:<id>         string   callback URL of a task whose end is not announced yet
    penstock:outstanding           zset     callbacks of tasks whose workers announce no end
    penstock:called:<event>:<n>    string   that a callback was delivered
    penstock:idempotency:<tenant>:<hash>    string   what was answered to an idempotency key
    penstock:rate:<key name>       hash     token bucket of an API key
    penstock:paused                hash     queues of which no worker starts a task
    penstock:flow                  hash     messages taken and tasks started, by queue
    penstock:operations            set      ids of long operations that are not done
    penstock:operation:<id>        hash     what one is, and how far; `…:by` is the lease on it
    penstock:audit                 stream   changes by operators and clients: who, what, how many
    penstock:kept:<what>:<tenant>  hash     octets that a tenant keeps, by when they are gone
    penstock:history:changes       stream   records that have changed, for the history process
    penstock:history:requests      stream   what failed tasks were asked with, for the same
    penstock:history:large-requests  stream  those of more than 4 KiB
    penstock:history:accepted      stream   tasks that gateways have published, for the same
    penstock:history:arguments     string   `all`: gateways add what each task was asked with

Schedules, announcements and kept results are in `schedules`, `announcements` and `kept_results`.

The keys of one task lie in one slot of Redis Cluster. The record's name is Celery's and has no
braces, so all of it is hashed; every other key of the task has that name in braces, which is then
all that is hashed of it.
"""

from typing import NamedTuple

DAY_S = 86_400
ENDED_EXTRA_S = 7 * DAY_S
"""How much longer than the record the fact is kept that the task ended."""
REVOKED_S = 90 * DAY_S
"""How long an id stays revoked, counted from when its task is due."""
ASKED = b"asked"
"""What the mark of a revoked id holds where others were asked to drop its task: `task_ask.lua`."""
COPY_S = 8 * DAY_S
"""How long only one of several messages with the same id may start."""
DEATHS_S = DAY_S
"""How long it is remembered that a process died under a task."""
PASSED_S = DAY_S
"""How long it is remembered that the gate has passed a message on, which may come there again."""
EVENTS_LENGTH = 1000
"""Events kept of one task, about."""

RECORD_PREFIX = "celery-task-meta-"
"""Celery's `KeyValueStoreBackend.task_keyprefix`."""
GROUP_PREFIX = "celery-taskset-meta-"
"""Celery's `KeyValueStoreBackend.group_keyprefix`."""
HEADER_PREFIX = "penstock:header:"
"""Of chords' headers: workers would read every result of a group again, to call the body."""
AUDIT_KEY = "penstock:audit"
CALLBACK_PREFIX = "penstock:callback:"
OUTSTANDING_KEY = "penstock:outstanding"
"""Callbacks of tasks whose workers announce no end: `<id> <when it is due>`, by the next look."""
CALLED_PREFIX = "penstock:called:"
HISTORY_CHANGES = "penstock:history:changes"
"""The streams of history exist where a history process has made them: nothing is written else."""
HISTORY_CHANGES_LENGTH = 400_000
"""Entries, about: each names a record, some 90 octets."""
HISTORY_REQUESTS = "penstock:history:requests"
HISTORY_REQUESTS_LENGTH = 10_000
HISTORY_LARGE_REQUESTS = "penstock:history:large-requests"
"""Those of more than `SMALL_REQUEST_BYTES`: few are kept, so that the memory of all is bounded."""
HISTORY_LARGE_REQUESTS_LENGTH = 400
SMALL_REQUEST_BYTES = 4 * 1024
MAX_REQUEST_BYTES = 64 * 1024
"""What a task was asked with, in JSON; what is longer is not kept."""
HISTORY_ACCEPTED = "penstock:history:accepted"
HISTORY_ACCEPTED_LENGTH = 4_000
"""Entries of at most `MAX_ACCEPTED_BYTES`."""
MAX_ACCEPTED_BYTES = 16 * 1024
HISTORY_ARGUMENTS_KEY = "penstock:history:arguments"
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
    def of(cls, task_id: str, prefix: str = RECORD_PREFIX) -> "TaskKeys":
        """Name the keys of a task.

        Args:
            task_id: of the task.
            prefix: of its record: another where its app has a `global_keyprefix`.
        """
        record = f"{prefix}{task_id}"
        return cls(
            record,
            f"penstock:events:{{{record}}}",
            f"penstock:ended:{{{record}}}",
            f"penstock:revoked:{{{record}}}",
            f"penstock:copy:{{{record}}}",
            f"penstock:deaths:{{{record}}}",
        )


def passed_key(record: str) -> str:
    """Name the mark that the gate has passed a task on.

    Args:
        record: the key of its record.
    """
    return f"penstock:passed:{{{record}}}"


class ResultKeys:
    """The names in one result backend of Celery.

    Args:
        prefix: its `global_keyprefix`, with the `_` that Celery adds to one without separator.
    """

    __slots__ = ("group", "record")

    def __init__(self, prefix: str = "") -> None:
        if prefix and prefix[-1] not in ":_-.":
            prefix += "_"
        self.record = prefix + RECORD_PREFIX
        """How keys of records begin."""
        self.group = prefix + GROUP_PREFIX
        """How keys of groups begin."""

    def task(self, task_id: str) -> TaskKeys:
        """Name the keys of a task."""
        return TaskKeys.of(task_id, self.record)
