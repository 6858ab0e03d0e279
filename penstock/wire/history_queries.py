"""What gateways ask the history process: its routes, and which tasks a question is about.

Bodies and answers are JSON; times in them are whole milliseconds of unix time.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

TASKS: Final = "/v1/tasks"
"""A page of tasks, newest first: `where`, `limit`, `behind` → `tasks`, `next`. A place is the time
and the id of the last task that was given, `[milliseconds, id]`, or null."""
TASK: Final = "/v1/task"
"""One task: `id`, `tenant` → `task` or null."""
FAILURES: Final = "/v1/failures"
"""Groups of failures: `tenant`, `since_ms`, `until_ms`, `task`, `limit` → `failures`, `not_shown`,
`total`."""
STATUS: Final = "/v1/status"
"""How far history is behind: GET → `lag_s`."""
COUNT: Final = "/v1/operations/count"
"""What an operation would be about: `kind`, `selection` (`ids` or `where`) → `matched`,
`without_request`, `unknown`."""
BEGIN: Final = "/v1/operations"
"""Write down the tasks of an operation: `id`, `kind`, `rate`, `who`, `tenant`, `selection` → as
`COUNT`."""
TAKE: Final = "/v1/operations/take"
"""The next tasks of an operation: `id`, `most` → `items`, `rate`, `who`, `done`, `failed`."""
ASSIGN: Final = "/v1/operations/assign"
"""Store new ids before anything is published: `id`, `ids` (n → id) → `ids`, those that count."""
SETTLE: Final = "/v1/operations/settle"
"""Store outcomes: `id`, `ends` (n → null, or the code of a refusal) → `done`, `failed`."""
SECRET_SCHEME: Final = "Bearer"  # noqa: S105  # a word of HTTP

RETRY: Final = "retry"
REVOKE: Final = "revoke"
"""Kinds of operations."""

MOST_IDS: Final = 10_000
"""Ids that one operation may name."""
MOST_TASKS: Final = 100_000
"""Tasks that one operation may be about."""
NO_REQUEST: Final = "no-request"
"""The code of a task that cannot be published again, as its arguments were not kept."""
MASKED: Final = "masked"
"""The code of a task that is not published again, as secrets of its arguments were not kept."""
NOT_ENDED: Final = "not-ended"
"""The code of a task that is not published again, as it has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which tasks; what is empty or None does not restrict."""

    tenant: str | None = None
    """None: every tenant's, and those of none."""
    states: tuple[str, ...] = ()
    """One of these."""
    unended: bool = False
    """Only those that have not ended."""
    task: str = ""
    """Pattern of the name, as `fnmatch.fnmatchcase` reads it."""
    queue: str = ""
    worker: str = ""
    error: str = ""
    """The type of its error."""
    failure: str = ""
    """Id of a group of failures."""
    root: str = ""
    """Id of the first task of its canvas."""
    since_ms: int | None = None
    """Accepted, or seen first, at or after then."""
    until_ms: int | None = None
    """Before then."""
    text: str = ""
    """Words that it must have, all of them."""

    def to_json(self) -> dict[str, Any]:
        """Return the members that restrict."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value not in (None, "", (), False)
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> "Where":
        """Read what `to_json` returned.

        Raises:
            ValueError: It is of another form.
        """
        values = dict(members)
        values["states"] = tuple(values.get("states") or ())
        defaults = {one.name: one.default for one in fields(cls)}
        for name, value in values.items():
            if name not in defaults or not _is_sound(name, value):
                raise ValueError(f"{name} is no filter, or has another form")
        return cls(**values)


def _is_sound(name: str, value: Any) -> bool:
    if name == "states":
        return all(isinstance(one, str) for one in value)
    if name in {"since_ms", "until_ms"}:
        return isinstance(value, int)
    return isinstance(value, bool if name == "unended" else str)
