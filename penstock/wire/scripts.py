"""The Lua scripts of Redis: the files of `lua/`, read once by each process that calls them.

A script says in its first lines what it is for, its keys, its arguments and its answer. Two
processes that change the same keys share the lines that do so (`lua/include/`).
"""

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from penstock.wire.kept_results import BESIDES, MARKS
from penstock.wire.keys import (
    COPY_S,
    DAY_S,
    ENDED_EXTRA_S,
    EVENTS_LENGTH,
    HISTORY_ACCEPTED,
    HISTORY_ACCEPTED_LENGTH,
    HISTORY_ARGUMENTS_KEY,
    HISTORY_CHANGES,
    HISTORY_CHANGES_LENGTH,
    HISTORY_LARGE_REQUESTS,
    HISTORY_LARGE_REQUESTS_LENGTH,
    HISTORY_REQUESTS,
    HISTORY_REQUESTS_LENGTH,
    SMALL_REQUEST_BYTES,
)
from penstock.wire.pauses import PAUSED_KEY
from penstock.wire.records import FINAL

_FOLDER = files("penstock.wire") / "lua"
_INCLUDE = re.compile(r"^--- include (\w+)$", re.MULTILINE)
_CONSTANTS = {
    "BESIDES": str(BESIDES),
    "COPY_S": str(COPY_S),
    "DAY_S": str(DAY_S),
    "ENDED_EXTRA_S": str(ENDED_EXTRA_S),
    "EVENTS_LENGTH": str(EVENTS_LENGTH),
    "FINAL": f"({{{', '.join(f'{state} = true' for state in sorted(FINAL))}}})",
    "HISTORY_ACCEPTED": f"'{HISTORY_ACCEPTED}'",
    "HISTORY_ACCEPTED_LENGTH": str(HISTORY_ACCEPTED_LENGTH),
    "HISTORY_ARGUMENTS_KEY": f"'{HISTORY_ARGUMENTS_KEY}'",
    "HISTORY_CHANGES": f"'{HISTORY_CHANGES}'",
    "HISTORY_CHANGES_LENGTH": f"'{HISTORY_CHANGES_LENGTH}'",
    "HISTORY_LARGE_REQUESTS": f"'{HISTORY_LARGE_REQUESTS}'",
    "HISTORY_LARGE_REQUESTS_LENGTH": str(HISTORY_LARGE_REQUESTS_LENGTH),
    "SMALL_REQUEST_BYTES": str(SMALL_REQUEST_BYTES),
    "HISTORY_REQUESTS": f"'{HISTORY_REQUESTS}'",
    "HISTORY_REQUESTS_LENGTH": str(HISTORY_REQUESTS_LENGTH),
    "MARKS": str(MARKS),
    "PAUSED_KEY": f"'{PAUSED_KEY}'",
}
"""Constants of Python that a script may name, as Lua writes them: each takes the place of its name,
so that a call makes none that it does not need."""
_CONSTANT = re.compile(rf"\b({'|'.join(_CONSTANTS)})\b")


@dataclass(frozen=True, slots=True)
class Script:
    """The text of a script, and what Redis knows it by."""

    text: str = field(repr=False)
    sha: str = field(init=False)
    """SHA-1 of the text: what `EVALSHA` is sent with."""

    def __post_init__(self) -> None:
        """Compute the digest once."""
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)


@cache
def script(name: str) -> Script:
    """Return a script.

    Args:
        name: of its file in `lua/`, without `.lua`.

    Raises:
        FileNotFoundError: there is none of this name.
    """
    text = _INCLUDE.sub(lambda found: _read(f"include/{found[1]}"), _read(name))
    return Script(_CONSTANT.sub(lambda found: _CONSTANTS[found[1]], text))


def _read(name: str) -> str:
    return _FOLDER.joinpath(f"{name}.lua").read_text(encoding="utf-8")
