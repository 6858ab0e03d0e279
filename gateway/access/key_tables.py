"""The tables of a keys file, and what is wrong with them. Pure; the standard library alone."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

SCOPES = frozenset({"submit", "read", "ingest", "schedule", "admin"})
"""What a key may be allowed; `admin` includes all others and every tenant's tasks."""
ALLOW_LISTS = ("tasks", "queues", "collections")
_FIELDS = {"name", "sha256", "tenant", "scopes", "rate", "burst", *ALLOW_LISTS}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


class KeysFileError(Exception):
    """The keys file cannot be used; it names no key and no hash.

    Args:
        faults: Every fault found, one sentence each.
    """

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def tables(document: Mapping[str, Any]) -> dict[bytes, dict[str, Any]]:
    """The table of each key by the SHA-256 digest of the key.

    Raises:
        KeysFileError: With every fault.
    """
    faults = [f"unknown table or field {name!r}" for name in document if name != "key"]
    entries = document.get("key")
    if not isinstance(entries, list) or not entries:
        raise KeysFileError((*faults, "there is no [[key]]"))
    found: dict[bytes, dict[str, Any]] = {}
    names: set[str] = set()
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            faults.append(f"key {number}: not a table")
            continue
        wrong = [f"key {number}: {fault}" for fault in _faults(entry)]
        if entry.get("name") in names:
            wrong.append(f"key {number}: the name {entry['name']!r} is used twice")
        if not wrong:
            names.add(entry["name"])
            digest = bytes.fromhex(entry["sha256"])
            if digest in found:
                wrong.append(f"key {number}: the same sha256 as {found[digest]['name']!r}")
            else:
                found[digest] = entry
        faults += wrong
    if faults:
        raise KeysFileError(tuple(faults))
    return found


def _faults(entry: Mapping[str, Any]) -> Iterator[str]:
    for unknown in sorted(entry.keys() - _FIELDS):
        yield f"unknown field {unknown!r}"
    for name in ("name", "tenant"):
        value = entry.get(name, "" if name == "name" else "-")
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            yield f"{name!r} must be 1 to 128 printable characters"
    sha256 = entry.get("sha256")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
        yield "'sha256' must be the 64 hex digits of the key's SHA-256"
    scopes = entry.get("scopes")
    if not _is_texts(scopes) or not scopes:
        yield f"'scopes' must be a list of {', '.join(sorted(SCOPES))}"
    else:
        for scope in sorted(set(scopes) - SCOPES):
            yield f"there is no scope {scope!r}"
    for name in ALLOW_LISTS:
        if name in entry and not _is_texts(entry[name]):
            yield f"{name!r} must be a list of patterns"
    yield from _rate_faults(entry)


def _rate_faults(entry: Mapping[str, Any]) -> Iterator[str]:
    for name in ("rate", "burst"):
        value = entry.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
            yield f"{name!r} must be a number above 0"
        elif name == "burst" and value < 1:
            yield "'burst' must be at least 1: with less no request would ever be admitted"
    if "burst" in entry and "rate" not in entry:
        yield "'burst' needs a 'rate'"


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
