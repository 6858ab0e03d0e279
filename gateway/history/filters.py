"""Which tasks: the filters of `GET /v1/tasks` and of `where`, read the same way. Pure."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from penstock.wire.history_queries import Where

STATES: Final = ("PENDING", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED")
FILTERS: Final = (
    "state", "task", "queue", "worker", "error", "failure", "since", "until", "root", "q",
)  # fmt: skip
MOST_CHARS: Final = 1000
MOST_STARS: Final = 8
"""Of a pattern: what many of them match takes long to find out."""
_TEXTS: Final = {"task": "task", "queue": "queue", "worker": "worker", "error": "error",
                 "failure": "failure", "root": "root"}  # fmt: skip
_OFFSET_AFTER_SPACE = re.compile(r"(.*[T ]\d\d:?\d\d.*) (\d\d(?::?\d\d)?)", re.ASCII)
"""What a `+` in an URL becomes where it is not written `%2B`."""
_YEARS = range(1970, 10_000)
_NO_MORE_YEARS_S = 253_402_300_800
"""The year 10000."""
_EXPECTED_TIME = "a time: 2026-01-31T12:00:00Z, another form of ISO 8601, or unix seconds"


class FilterError(ValueError):
    """A filter has no such value.

    Args:
        name: Of the filter.
        expected: What it may be.
    """

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"{name}: Expected {expected}")
        self.name = name
        self.expected = expected


def where_of(given: Mapping[str, Any], tenant: str | None) -> Where:
    """Return which tasks are meant; a filter that is empty does not restrict.

    Args:
        given: Filters by name; no other names.
        tenant: Whose tasks; None: everybody's.

    Raises:
        FilterError: One of them has another form.
    """
    values: dict[str, Any] = {"tenant": tenant, "states": _states(given.get("state"))}
    for name, field in _TEXTS.items():
        values[field] = _text(name, given.get(name))
    values["text"] = _text("q", given.get("q"))
    if values["task"].count("*") > MOST_STARS:
        raise FilterError("task", f"a pattern with at most {MOST_STARS} asterisks")
    if values["text"] and not any(sign.isalnum() for sign in values["text"]):
        raise FilterError("q", "words")
    for name in ("since", "until"):
        text = given.get(name)
        values[f"{name}_ms"] = None if text in (None, "") else time_ms(name, text)
    since, until = values["since_ms"], values["until_ms"]
    if since is not None and until is not None and until < since:
        raise FilterError("until", "a time that is not before since")
    return Where(**values)


def restricts(given: Mapping[str, Any]) -> bool:
    """Return whether any filter is given."""
    return any(value not in (None, "", []) for value in given.values())


def _states(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
        raise FilterError("state", "text, or a list of it")
    names = tuple(word.strip() for word in words if word.strip())
    if not all(name in STATES for name in names):
        raise FilterError("state", f"one or more of {', '.join(STATES)}")
    return names


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_CHARS or "\0" in value:
        raise FilterError(name, f"text of at most {MOST_CHARS} characters, none of them NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FilterError(name, "text that UTF-8 can hold") from None
    return value


def time_ms(name: str, value: Any) -> int:
    """Return a time as milliseconds of unix time; one without an offset is UTC.

    Args:
        name: Of the filter, for its refusal.
        value: As the client gave it.

    Raises:
        FilterError: It is none.
    """
    parse: tuple[Callable[[Any], float], ...] = (_unix_s, _iso_s)
    for read in parse:
        try:
            return round(read(value) * 1000)
        except (ValueError, OverflowError, TypeError):
            continue
    raise FilterError(name, _EXPECTED_TIME)


def _unix_s(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    if isinstance(value, str) and not re.fullmatch(r"0|[0-9]{9,11}(\.[0-9]{1,9})?", value):
        raise ValueError  # 20260131 is a day
    seconds = float(value)
    if not 0 <= seconds < _NO_MORE_YEARS_S:
        raise ValueError
    return seconds


def _iso_s(value: Any) -> float:
    if not isinstance(value, str):
        raise TypeError
    text = value.strip().upper()  # RFC 3339 has `t` and `z`, too
    if found := _OFFSET_AFTER_SPACE.fullmatch(text):
        text = "+".join(found.groups())
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    if time.year not in _YEARS:
        raise ValueError
    return time.timestamp()
