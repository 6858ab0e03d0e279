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

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.access.auth import Caller
from gateway.access.key_tables import ALLOW_LISTS, KeysFileError, tables

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Of a keys file: some fifty thousand keys."""


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
    return {digest: _caller(entry, digest) for digest, entry in tables(document).items()}


def _caller(entry: Mapping[str, Any], digest: bytes) -> Caller:
    lists = {name: tuple(entry[name]) for name in ALLOW_LISTS if name in entry}
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
