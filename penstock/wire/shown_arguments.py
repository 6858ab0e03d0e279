"""Arguments as people see them in Flower and `celery inspect`: short, whatever was sent. Pure."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

HIDDEN = "…"
"""Instead of the arguments where the layout says `show_arguments = false`."""

MOST = 1024
"""Characters in all, as Celery's own."""

_MEMBERS = 8
_LEVELS = 3
_TEXT = 100
_WHOLE_BITS = 256


def shown(value: Any, levels: int = _LEVELS) -> str:
    """Write a value as Python would, leaving out what is long or deep.

    Args:
        value: decoded arguments.
        levels: how deep to look.
    """
    return _shown(value, levels)[:MOST]


def _shown(value: Any, levels: int) -> str:
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= _TEXT else f"{value[:_TEXT]!r}…"
    if isinstance(value, int):  # the digits of a large one take long
        return repr(value) if value.bit_length() <= _WHOLE_BITS else "<a large integer>"
    if isinstance(value, Mapping):
        members: Iterable[str] = (
            f"{_shown(name, levels - 1)}: {_shown(one, levels - 1)}"
            for name, one in islice(value.items(), _MEMBERS)
        )
        return _joined("{", members, "}", len(value), levels)
    if isinstance(value, list | tuple):
        members = (_shown(one, levels - 1) for one in value[:_MEMBERS])
        return _joined("[", members, "]", len(value), levels)
    return repr(value)[:_TEXT]


def _joined(begin: str, members: Iterable[str], end: str, count: int, levels: int) -> str:
    if levels <= 0 and count:
        return f"{begin}…{end}"
    more = ", …" if count > _MEMBERS else ""
    return f"{begin}{', '.join(members)}{more}{end}"
