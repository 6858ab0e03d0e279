"""What becomes of a task's document when more is known of it. Pure.

A change is known by its cursor: merged twice it is there once, and an older one never overwrites
the state of a newer one. So whatever is read again after a fault repeats nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from history.grouping import failure_id
from history.writing.facts import Change, Error, Facts, Request, moment, order_of
from history.writing.masking import Mask
from history.writing.words import words_of

MOST_CHANGES = 100
"""Entries kept of one task: the first and the last fifty."""
_FINAL = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
_OF_EVENTS = frozenset({"changes", "order", "started_at", "ended_at", "error"})
"""What records say better."""
_MINUTE = timedelta(minutes=1)
_TIMES = frozenset({"accepted_at", "due_at", "started_at", "ended_at"})
_SIMPLE = ("task", "tenant", "queue", "parent", "group", "retried_from", "request_id", "due_at")


class Merger:
    """Merges facts into documents.

    Args:
        mask: hides secrets of requests.
        days: how long a task is kept after its last change.
    """

    def __init__(self, mask: Mask, days: int) -> None:
        self._mask = mask
        self._kept = timedelta(days=days)

    def merged(self, before: Mapping[str, Any] | None, facts: Facts) -> dict[str, Any]:
        """Return the members that change; none: everything was known.

        Args:
            before: the document; None: there is none.
            facts: what is known now.
        """
        known: Mapping[str, Any] = before or {}
        found: dict[str, Any] = {}
        if known.get("order") is not None and facts.changes:
            if facts.source == "events" and known.get("source") == "penstock":
                return found  # the records have said more
            if facts.source == "penstock" and known.get("source") == "events":
                known = {name: one for name, one in known.items() if name not in _OF_EVENTS}
        for name in _SIMPLE:
            value = getattr(facts, name)
            if value is not None and known.get(name) is None:
                found[name] = value
        self._dates(known, facts, found, datetime.now(UTC))
        self._state(known, facts, found)
        if _TIMES & found.keys():
            self._spans({**known, **found}, found)
        if facts.request is not None and "request" not in known:
            self._keep_request(facts.request, found)
        if facts.too_large and not known.get("too_large"):
            found["too_large"] = True
        self._origin(before, known, facts, found)
        if not found:
            return found
        if before is None or {"task", "error", "request"} & found.keys():
            found["words"] = self._words({**known, **found})
        whole = {**known, **found}
        latest = max(filter(None, (whole.get(name) for name in ("changed_at", "at", "due_at"))))
        # To the minute, as MongoDB looks for what has expired: most changes leave it as it is, and
        # its index.
        expires_at = (latest + self._kept + _MINUTE).replace(second=0, microsecond=0)
        if whole.get("expires_at") != expires_at:
            found["expires_at"] = expires_at
        return found

    def _origin(
        self,
        before: Mapping[str, Any] | None,
        known: Mapping[str, Any],
        facts: Facts,
        found: dict[str, Any],
    ) -> None:
        if before is None:
            found |= {"source": facts.source, "root": facts.root or facts.task_id}
            found.setdefault("state", "PENDING")
            found.setdefault("tenant", None)
        elif facts.root is not None and facts.root != known.get("root"):
            found["root"] = facts.root
        elif facts.changes and facts.source != known.get("source"):
            found["source"] = facts.source

    def _dates(
        self, known: Mapping[str, Any], facts: Facts, found: dict[str, Any], now: datetime
    ) -> None:
        if facts.accepted_at is not None and known.get("accepted_at") is None:
            found["accepted_at"] = facts.accepted_at
            found["at"] = min(facts.accepted_at, known.get("at") or facts.accepted_at)
        elif "at" not in known:
            first = facts.changes[0].cursor if facts.changes else None
            found["at"] = moment(first) if first else now
        started = facts.started_at
        if started is not None and started != known.get("started_at"):
            found["started_at"] = started

    def _state(self, known: Mapping[str, Any], facts: Facts, found: dict[str, Any]) -> None:
        if not facts.changes:
            return
        entries = merge_changes(known.get("changes") or (), facts.changes)
        if entries is not None:
            found["changes"] = entries
        last = facts.changes[-1]
        order = order_of(last.cursor)
        if order <= known.get("order", -1):
            if known.get("started_at") is not None:
                found.pop("started_at", None)  # of an earlier attempt
            return
        found |= {
            "state": last.state,
            "cursor": last.cursor,
            "order": order,
            "changed_at": moment(last.cursor),
        }
        if last.worker is not None:
            found["worker"] = last.worker
        if last.attempt is not None:
            found["retries"] = last.attempt
        found["ended_at"] = moment(last.cursor) if last.state in _FINAL else None
        self._error(known, facts, found)

    @staticmethod
    def _spans(whole: Mapping[str, Any], found: dict[str, Any]) -> None:
        """How long it waited, and how long it ran."""
        started, ended = whole.get("started_at"), whole.get("ended_at")
        if started is not None:
            since = whole.get("accepted_at")
            if since is not None:
                due = max(since, whole.get("due_at") or since)
                found["waited_s"] = max(0.0, (started - due).total_seconds())
            if ended is not None:
                found["runtime_s"] = max(0.0, (ended - started).total_seconds())

    def _error(self, known: Mapping[str, Any], facts: Facts, found: dict[str, Any]) -> None:
        error = facts.error
        if error is None:
            if known.get("error") is not None:
                found |= {"error": None, "failure": None}
            return
        found["error"] = {
            "type": error.kind,
            "message": error.message,
            "traceback": error.traceback,
        }
        if found["state"] == "FAILURE":
            task = facts.task or known.get("task") or ""
            found["failure"] = failure_id(task, error.kind, error.message, error.traceback)
            found["uncounted"] = True  # `counting` adds it to its group

    def _keep_request(self, request: Request, found: dict[str, Any]) -> None:
        args, one = self._mask.apply(request.args)
        kwargs, other = self._mask.apply(request.kwargs)
        embed, third = self._mask.apply(request.embed)
        headers = request.options.get("headers") or {}
        shown = {name: "***" if self._mask.hides(name) else headers[name] for name in headers}
        found["request"] = {
            "args": args,
            "kwargs": kwargs,
            "embed": embed,
            "options": {**request.options, "headers": shown},
        }
        if one or other or third or shown != headers:
            found["masked"] = True

    @staticmethod
    def _words(whole: Mapping[str, Any]) -> list[str]:
        error, request = whole.get("error") or {}, whole.get("request") or {}
        return words_of(
            (
                whole.get("task") or "",
                error.get("type") or "",
                error.get("message") or "",
                request.get("args") or "",
                request.get("kwargs") or "",
            )
        )


def merge_changes(
    known: Iterable[Mapping[str, Any]], news: Iterable[Change]
) -> list[dict[str, Any]] | None:
    """Return the entries of a timeline with more of them; None: all were there.

    Of progress that follows progress the last stays; of too many the first and last fifty.
    """
    entries = {entry["c"]: dict(entry) for entry in known}
    added = [change for change in news if change.cursor not in entries]
    if not added:
        return None
    entries |= {change.cursor: change.document() for change in added}
    ordered = [entries[cursor] for cursor in sorted(entries, key=order_of)]
    kept = [
        entry
        for entry, following in zip(ordered, [*ordered[1:], None], strict=True)
        if entry["state"] != "PROGRESS" or following is None or following["state"] != "PROGRESS"
    ]
    if len(kept) > MOST_CHANGES:
        kept = kept[: MOST_CHANGES // 2] + kept[-MOST_CHANGES // 2 :]
    return kept


def together(facts: Iterable[Facts]) -> dict[str, Facts]:
    """Put facts of the same task into one, the later over the earlier."""
    found: dict[str, Facts] = {}
    for one in facts:
        other = found.get(one.task_id)
        if other is None:
            found[one.task_id] = one
            continue
        known = {change.cursor for change in other.changes}
        news = [change for change in one.changes if change.cursor not in known]
        if news:
            if not other.changes or order_of(news[-1].cursor) > order_of(other.changes[-1].cursor):
                other.error, other.started_at = one.error, one.started_at or other.started_at
            other.changes = sorted((*other.changes, *news), key=lambda one: order_of(one.cursor))
        for name in (*_SIMPLE, "root", "accepted_at", "request"):
            if getattr(other, name) is None:
                setattr(other, name, getattr(one, name))
        other.too_large = other.too_large or one.too_large
        if one.source == "penstock":
            other.source = "penstock"
    return found


__all__ = ["MOST_CHANGES", "Error", "Merger", "merge_changes", "together"]
