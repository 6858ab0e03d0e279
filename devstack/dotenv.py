"""A `.env` as docker compose reads it, changed in place: comments, order and line ends stay."""

import re
from pathlib import Path

from devstack.settings_files import write_private

_ENTRY = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_]\w*)[ \t]*=[ \t]*
    (?P<value>'[^']*'|"(?:[^"\\]|\\.)*"|[^\r\n]*?)
    (?=[ \t]*(?:(?:^|[ \t])\#[^\r\n]*)?\r?$)""",
    re.MULTILINE | re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = re.compile(r"[\w@%+=:,./~^-]*")


class DotEnv:
    """The file.

    Args:
        path: Where it is; it need not be there.
        header: What a new one begins with.
    """

    def __init__(self, path: Path, header: str = "") -> None:
        self._path = path
        self._text = header
        if path.exists():
            with path.open(encoding="utf-8-sig", newline="") as file:
                self._text = file.read()

    @property
    def values(self) -> dict[str, str]:
        """Return the value of each name, without its quotes; of one that comes twice the last."""
        return {found["name"]: _unquoted(found["value"]) for found in _ENTRY.finditer(self._text)}

    def put(self, name: str, value: str) -> None:
        """Give a name a value where it stands, or in a line more."""
        places = [one for one in _ENTRY.finditer(self._text) if one["name"] == name]
        if places:
            start, end = places[-1].span("value")
            self._text = f"{self._text[:start]}{_quoted(value)}{self._text[end:]}"
            return
        line_end = "\r\n" if "\r\n" in self._text else "\n"
        if self._text and not self._text.endswith("\n"):
            self._text += line_end
        self._text += f"{name}={_quoted(value)}{line_end}"

    def write(self) -> None:
        """Write the file, readable by its owner only."""
        write_private(self._path, self._text)


def _unquoted(text: str) -> str:
    if text.startswith("'"):
        return text.strip("'")
    return _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value:
        return f"'{value}'"
    escaped = re.sub(r'([\\"$])', r"\\\1", value)
    return f'"{escaped}"'
