"""Names and keys of periodic tasks in Redis, for beat and the gateway.

    hash redbeat:<internal name>   definition   what runs when: RedBeat's JSON
                                   meta         last_run_at, total_run_count: RedBeat's JSON
                                   penstock     when it was last changed, and its last run before
                                   owner        `Owner`, of entries that the gateway wrote
                                   unpublished  why beat could not publish it, for people
    sorted set redbeat::schedule   key → when it is due, unix seconds; below 0: never
    string penstock:beat           `{"at": unix seconds, "host"}` of the beat that leads

A name is a tenant's own: its entry is `@<tenant>/<name>`, the tenant percent-encoded. Names without
a tenant, RedBeat's own way, are those of `ADMIN`: the shipped entries, and every entry that
another program made.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

PREFIX = "redbeat:"
SCHEDULE_KEY = "redbeat::schedule"
LOCK_KEY = "redbeat::lock"
"""RedBeat's `redbeat_key_prefix`, `schedule_key` and `lock_key`, as they are by default."""

NEVER = -1.0
"""The score of an entry that is not due again, switched off or suspended; beat looks at none below
0."""

BEAT_KEY = "penstock:beat"
BEAT_SILENT_S = 15
"""After so long without a sign no beat is leading."""

ADMIN = "admin"
"""The tenant of entries without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who wrote an entry over HTTP; the tenant is part of its name."""

    key: str
    """Name of the API key; the entry runs while that key may submit its task."""
    suspended: str = ""
    """Why it does not run at present, for people; empty: it runs."""

    def dump(self) -> str:
        """Return the hash's field."""
        told = {"key": self.key}
        return json.dumps(told | ({"suspended": self.suspended} if self.suspended else {}))

    @classmethod
    def load(cls, text: str | bytes | None) -> "Owner | None":
        """Return the owner of a hash's field; None: no gateway wrote the entry."""
        try:
            found: Any = json.loads(text or "null")
            return cls(key=str(found["key"]), suspended=str(found.get("suspended", "")))
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


def internal_name(tenant: str, name: str) -> str:
    """Return what an entry is called in Redis, behind `PREFIX`.

    Args:
        tenant: Whose it is.
        name: As the tenant calls it.

    Raises:
        ValueError: No entry of this tenant can have the name: in Redis it is RedBeat's own key
            (`redbeat::lock`), or another tenant's entry.
    """
    internal = _internal_name(tenant, name)
    if not name or name.startswith(":") or tenant_and_name(internal) != (tenant, name):
        raise ValueError(f"{name!r} names no schedule")
    return internal


def tenant_and_name(internal: str) -> tuple[str, str]:
    """Return whose an entry is, and what the tenant calls it.

    Args:
        internal: Its name in Redis.
    """
    head, slash, name = internal.partition("/")
    tenant = unquote(head[1:])
    if slash and name and head[:1] == "@" and _internal_name(tenant, name) == internal:
        return tenant, name
    return ADMIN, internal


def _internal_name(tenant: str, name: str) -> str:
    return name if tenant == ADMIN else f"@{quote(tenant, safe='')}/{name}"
