"""Which failures are the same: by task, type, message without its particulars, and place."""

import hashlib
import re

# Texts are of others: nothing here may look at a character more than some times. So none of these
# repeats what could begin it, and a line's blanks end with the line.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|‘[^‘’]*’|“[^“”]*”|«[^«»]*»")
_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\S*"
_HEX_WORD = r"(?<![^\W_])(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}(?![^\W_])"
"""Ids of MongoDB, digests, commits, UUIDs without hyphens: words without a digit are words."""
_NUMBER = re.compile(rf"0x[0-9a-fA-F]+|{_UUID}|{_HEX_WORD}|\d+")
_FRAME = re.compile(r'^[ \t]*File "([^"\n]*)", line \d+, in (.+)$', re.MULTILINE)
_MESSAGE_CHARS = 4096


def failure_id(task: str, kind: str, message: str, traceback: str | None) -> str:
    """Return the id of the group that a failure belongs to, 16 hexadecimal digits.

    Args:
        task: name of the task.
        kind: name of the exception's class.
        message: its text; numbers, ids of hexadecimal digits and quoted parts do not count.
        traceback: as Python writes it; the file and function of its last frame count.
    """
    parts = (task, kind, without_particulars(message), place(traceback or ""))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def without_particulars(message: str) -> str:
    """Return a message with `#` for each number or id, and `'…'` for each quoted part."""
    return _NUMBER.sub("#", _QUOTED.sub("'…'", message[:_MESSAGE_CHARS]))


def place(traceback: str) -> str:
    """Return `file:function` of the last frame, or nothing where there is none."""
    frames = _FRAME.findall(traceback)
    return ":".join(frames[-1]).strip() if frames else ""
