"""Random JSON that tempts decoders: objects of the forms that kombu and RedBeat take for values."""

import json
import math
import random
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

TYPES = (
    "datetime", "date", "time", "decimal", "uuid", "bytes", "base64", "interval", "crontab",
    "weekday", "rrule", "solar", "data", "x", "", "__type__", "mixed __data__",
)  # fmt: skip
"""What stands in `__type__`; kombu's and RedBeat's own first."""

VALUES: tuple[Any, ...] = (
    "2020-01-01T00:00:00", "2020-01-01", "12:00:00", "1.5", {"hex": "0" * 32}, "text", "AA==",
    "not one", 7, None, [], {}, {"__type__": "datetime", "__value__": "2020-01-01T00:00:00"},
)  # fmt: skip

REDBEATS = (
    {"__type__": "datetime", "year": 2020, "month": 1, "day": 1, "timezone": "UTC"},
    {"__type__": "interval", "every": 5, "relative": False},
    {"__type__": "crontab", "minute": "*/5"},
    {"__type__": "weekday", "wkday": 1},
    {"__type__": "rrule", "freq": 3},
    {"__type__": "solar", "event": "sunset", "latitude": 1, "longitude": 2},
)

OLD_FORMS: tuple[dict[str, Any], ...] = (
    {"bytes": "AA==", "__bytes__": True},
    {"__bytes__": True},
    {"$date": 5},
    {"_bytes_": "x"},
)

TEXTS = (
    "", "a", "é", "😀", "\x00", '"', "\\", "\u2028", "__type__", '"__type__"', '\\"__type__\\"',
    '{"__type__":"x","__value__":1}', ',"__data__":null}', "__data__", "$x", "a.b", "\ud7ff\ue000",
    "x" * 70,
)  # fmt: skip

NUMBERS: tuple[int | float, ...] = (
    0, -1, 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), 1.0, -0.0, 0.1, 1e22, 1e-7,
    5e-324, 1.7976931348623157e308, -2.5e-300, 123456789.123456789,
)  # fmt: skip

BIG_INTEGERS = (2**63, 2**64, -(2**63) - 1, 10**30, -(10**308), 10**400 + 1)

KEYS = (
    "a", "b", "", "_id", "__type__", "__value__", "__data__", "__bytes__", "json", "result", "é",
    "task", "args", "kwargs", "options", "chord", "status", "a b", "0",
)  # fmt: skip

PYTHON_VALUES = (
    datetime(2026, 1, 31, 12, 30, tzinfo=UTC),
    datetime(2026, 1, 31, 12, 30, 0, 5),  # noqa: DTZ001  # a naive one stays naive
    date(2026, 1, 31),
    time(12, 30),
    Decimal("1.50"),
    UUID("5c3f7a52-9d0e-4c0f-8f4b-2f6f1f6d1c11"),
    b"text",
    b"\xff\x00",
)
"""What kombu puts in an envelope and takes out of it."""


def lookalike(rng: random.Random, depth: int = 0) -> Any:
    """Make an object that some decoder takes for one of its own."""
    match rng.randrange(5):
        case 0 | 1 | 2:
            value = rng.choice(VALUES) if depth > 3 or rng.random() < 0.7 else tree(rng, depth + 1)
            members = [("__type__", rng.choice(TYPES)), ("__value__", value)]
            if rng.random() < 0.1:
                members[0] = ("__type__", tree(rng, depth + 2))
            if rng.random() < 0.2:
                members.reverse()
            if rng.random() < 0.15:
                members.append((rng.choice(("__data__", "x", "$y", "__data_0__")), None))
            return dict(members)
        case 3:
            return dict(rng.choice(REDBEATS))
    return {name: value for name, value in rng.choice(OLD_FORMS).items() if name[0] != "$"}


def scalar(rng: random.Random, *, big: bool = False) -> Any:
    """Make a text, a number, a truth value or null."""
    match rng.randrange(4):
        case 0:
            return rng.choice((None, True, False))
        case 1:
            return rng.choice(TEXTS)
        case 2:
            return rng.choice(BIG_INTEGERS if big and rng.random() < 0.3 else NUMBERS)
    return math.ldexp(rng.uniform(-1, 1), rng.randrange(-1000, 1000))


def tree(rng: random.Random, depth: int = 0, *, big: bool = False, dollars: bool = True) -> Any:
    """Make a value.

    Args:
        rng: Its source.
        depth: Of its place; less is added the deeper it is.
        big: With integers outside 64 bits.
        dollars: With keys that documents may not have.
    """
    kind = rng.random()
    if depth > 5 or kind < 0.3:
        return scalar(rng, big=big)
    if kind < 0.6:
        found = lookalike(rng, depth)
        return found if dollars else without_dollars(found)
    width = rng.choice((0, 1, 1, 2, 3, 5))
    if kind < 0.75:
        return [tree(rng, depth + 1, big=big, dollars=dollars) for _ in range(width)]
    keys = [rng.choice(KEYS) for _ in range(width)]
    return {key: tree(rng, depth + 1, big=big, dollars=dollars) for key in keys}


def deep(rng: random.Random, levels: int) -> Any:
    """Make a value that is nested that deep, around an object that tempts."""
    found = lookalike(rng, 4)
    for _ in range(levels):
        found = [found] if rng.random() < 0.5 else {"__value__": found}
    return found


def without_dollars(value: Any) -> Any:
    """The same without members whose keys begin with a dollar sign."""
    if isinstance(value, dict):
        return {
            key: without_dollars(member) for key, member in value.items() if not key.startswith("$")
        }
    return [without_dollars(one) for one in value] if isinstance(value, list) else value


def exact(value: Any) -> str:
    """Write a value so that two are equal when a client cannot tell one from the other.

    Numbers of different kinds differ (1 and 1.0, 0.0 and -0.0), and so does the order of members.
    """
    return json.dumps(value, ensure_ascii=False)


def spelled(rng: random.Random, value: Any) -> str:
    """Write JSON in one of the ways in which clients do."""
    text = json.dumps(
        value,
        ensure_ascii=rng.random() < 0.5,
        separators=rng.choice(((",", ":"), (", ", ": "), (" ,", "\t:"))),
    )
    if rng.random() < 0.3:
        text = text.replace('"__type__"', rng.choice(('"\\u005f_type__"', '"__\\u0074ype__"')))
        text = text.replace('"_id"', '"\\u005fid"')
    return text
