"""What gateways say of accepted tasks, and workers of what failed tasks were asked with: as facts.

Whatever is malformed is left out: these streams are ours, and one bad entry must not stop them.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from history.redis_client import Entry
from history.writing.facts import Facts, Request

_DECODER = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,:]*")


def accepted(entries: Iterable[Entry]) -> list[Facts]:
    """Return the tasks of batches of gateways."""
    found: list[Facts] = []
    for _, fields in entries:
        found += [
            _accepted(one)
            for one in _json(fields.get(b"a", b""), list)
            if isinstance(one, dict) and isinstance(one.get("id"), str)
        ]
    return found


def _accepted(entry: Mapping[str, Any]) -> Facts:
    facts = Facts(
        task_id=entry["id"],
        task=_word(entry, "task"),
        tenant=_word(entry, "tenant"),
        queue=_word(entry, "queue"),
        root=_word(entry, "root"),
        parent=_word(entry, "parent"),
        retried_from=_word(entry, "retried_from"),
        request_id=_word(entry, "request_id"),
        accepted_at=_time(entry.get("at")),
        due_at=_time(entry.get("due_at")),
        too_large=entry.get("too_large") is True,
    )
    body = entry.get("body")
    if isinstance(body, str) and (parts := parts_of(body)):
        facts.request = Request(
            args=parts[0],
            kwargs=parts[1],
            embed=without_chord(parts[2]),
            options={"queue": facts.queue, **_options(entry)},
        )
    return facts


def requests(entries: Iterable[Entry]) -> list[Facts]:
    """Return what failed tasks were asked with."""
    found = []
    for _, fields in entries:
        entry = _json(fields.get(b"r", b""), dict)
        if isinstance(entry.get("id"), str):
            found.append(_request(entry))
    return found


def _request(entry: Mapping[str, Any]) -> Facts:
    facts = Facts(task_id=entry["id"], task=_word(entry, "task"), tenant=_word(entry, "tenant"))
    args, kwargs, body = entry.get("args"), entry.get("kwargs"), entry.get("body")
    embed = _word(entry, "embed") or ""
    if isinstance(body, str) and (parts := parts_of(body)):
        args, kwargs, embed = parts[0], parts[1], without_chord(parts[2])
    if isinstance(args, str) and isinstance(kwargs, str):
        options = _options(entry)
        facts.request = Request(args=args, kwargs=kwargs, embed=embed, options=options)
        facts.queue = _word(options, "queue")
    facts.too_large = entry.get("too_large") is True
    return facts


def parts_of(body: str) -> tuple[str, str, str] | None:
    """Return the texts of arguments, keyword arguments and what follows, of a message's body."""
    text = body.strip()
    if not text.startswith("["):
        return None
    place, parts = 1, []
    try:
        for _ in range(3):
            start = _skip(text, place)
            _, place = _DECODER.raw_decode(text, start)
            parts.append(text[start:place])
    except (ValueError, RecursionError):
        return None
    if not (parts[0].startswith("[") and parts[1].startswith("{")):
        return None
    return parts[0], parts[1], parts[2]


def without_chord(embed: str) -> str:
    """Return what follows a task without its chord, whose count has gone on; empty: nothing.

    The rest stays to the letter, and what cannot be read as it is: a retry says so then, and does
    not publish the task with nothing behind it.
    """
    if not embed.startswith("{"):
        return "" if embed == "null" else embed
    kept, place = [], _skip(embed, 1)
    try:
        while embed[place] != "}":
            start = place
            name, place = _DECODER.raw_decode(embed, start)
            value, place = _DECODER.raw_decode(embed, _skip(embed, place))
            if value and name != "chord":
                kept.append(embed[start:place])
            place = _skip(embed, place)
    except (IndexError, ValueError, RecursionError):
        return embed
    return f"{{{','.join(kept)}}}" if kept else ""


def _skip(text: str, place: int) -> int:
    matched = _BETWEEN.match(text, place)
    return matched.end() if matched else place


def _options(entry: Mapping[str, Any]) -> dict[str, Any]:
    options = entry.get("options")
    return dict(options) if isinstance(options, dict) else {}


def _json(text: bytes, kind: type) -> Any:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return kind()
    return found if isinstance(found, kind) else kind()


def _word(entry: Mapping[str, Any], name: str) -> str | None:
    value = entry.get(name)
    return value if isinstance(value, str) and value else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, int | float) or not 0 < value < 1e11:
        return None
    return datetime.fromtimestamp(int(value * 1000) / 1000, UTC)
