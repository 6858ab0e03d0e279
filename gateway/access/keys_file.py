"""The TOML file of API keys, every fault of the file in one error. Pure but for the reading.

    [[key]]
    name = "sensor-hub"
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    tenant = "plant-a"                # default: the name
    scopes = ["ingest", "read"]       # submit, read, ingest, schedule, admin
    tasks = ["reports.*"]             # optional allow-lists, fnmatch patterns
    queues = ["default"]
    collections = ["sensors-*"]
    rate = 100                        # optional: pieces of work each second, of all gateways
    burst = 500                       # optional: how many at once, 1 or more (default: two seconds'
                                      # worth, at least 1)

A field that is not known is a fault: a misspelt allow-list would allow everything.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.access.auth import SCOPES, Caller

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Of a keys file: some fifty thousand keys."""
_ALLOW_LISTS = ("tasks", "queues", "collections")
_FIELDS = {"name", "sha256", "tenant", "scopes", "rate", "burst", *_ALLOW_LISTS}
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


def read_keys(path: Path) -> dict[bytes, Caller]:
    """The callers of a keys file by the SHA-256 digest of their key.

    Raises:
        KeysFileError: With every fault.
    """
    try:
        document = tomllib.loads(_text(path))
    except OSError as error:
        raise KeysFileError((f"{path}: {error.strerror}",)) from None
    except ValueError as error:  # TOML and UTF-8 decoding
        raise KeysFileError((f"{path}: {error}",)) from None
    except RecursionError:
        raise KeysFileError((f"{path}: nested too deeply",)) from None
    return parse_keys(document)


def _text(path: Path) -> str:
    """What stands in the file, without a byte order mark.

    Raises:
        OSError: It cannot be read.
        KeysFileError: It is no plain file, whose reading could wait for ever, or too large.
        UnicodeDecodeError: It is not UTF-8.
    """
    if not path.is_file():
        path.stat()  # one that is not there says so
        raise KeysFileError((f"{path}: not a plain file",))
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise KeysFileError((f"{path}: over {MAX_FILE_BYTES} bytes",))
    return content.decode("utf-8-sig")


def parse_keys(document: Mapping[str, Any]) -> dict[bytes, Caller]:
    """The callers of a parsed keys file by the SHA-256 digest of their key.

    Raises:
        KeysFileError: With every fault.
    """
    faults = [f"unknown table or field {name!r}" for name in document if name != "key"]
    entries = document.get("key")
    if not isinstance(entries, list) or not entries:
        raise KeysFileError((*faults, "there is no [[key]]"))
    callers: dict[bytes, Caller] = {}
    names: set[str] = set()
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            faults.append(f"key {number}: not a table")
            continue
        found = [f"key {number}: {fault}" for fault in _faults(entry)]
        if entry.get("name") in names:
            found.append(f"key {number}: the name {entry['name']!r} is used twice")
        if not found:
            names.add(entry["name"])
            digest = bytes.fromhex(entry["sha256"])
            if digest in callers:
                found.append(f"key {number}: the same sha256 as {callers[digest].name!r}")
            else:
                callers[digest] = _caller(entry, digest)
        faults += found
    if faults:
        raise KeysFileError(tuple(faults))
    return callers


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
    for name in _ALLOW_LISTS:
        if name in entry and not _is_texts(entry[name]):
            yield f"{name!r} must be a list of patterns"
    for name in ("rate", "burst"):
        value = entry.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
            yield f"{name!r} must be a number above 0"
        elif name == "burst" and value < 1:
            yield "'burst' must be at least 1: with less no request would ever be admitted"
    if "burst" in entry and "rate" not in entry:
        yield "'burst' needs a 'rate'"


def _caller(entry: Mapping[str, Any], digest: bytes) -> Caller:
    lists = {name: tuple(entry[name]) for name in _ALLOW_LISTS if name in entry}
    rate = entry.get("rate")
    return Caller(
        name=entry["name"],
        tenant=entry.get("tenant", entry["name"]),
        scopes=frozenset(entry["scopes"]),
        rate=rate,
        burst=entry.get("burst", max(1, 2 * rate) if rate else None),
        digest=digest,
        **lists,
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
