"""Values that BSON refuses, made into ones that it takes: one bad member costs no document."""

from collections.abc import Mapping
from typing import Any

_MOST_DEPTH = 50


def clean(value: Any, depth: int = 0) -> Any:
    """Return a value that can be stored: half surrogate pairs, huge integers, odd keys replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    if depth > _MOST_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {_key(key): clean(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [clean(one, depth + 1) for one in value]
    return value


def _key(key: Any) -> str:
    text = str(key).replace("\0", "")
    return text.encode("utf-8", "replace").decode()
