"""The beginnings of arguments that hold a great many values, where all of them take too long. Pure.

    [[1,2],[3,4],…5 MB…]  ──►  [[1,2],[3,4],…32 KiB…]

A value is checked without a turn for others, at up to 200 ns for each value in it. So of the
arguments of a task so many values are looked at as take a few milliseconds. A type says nothing of
how many values there are: where an argument fits, its beginning does, and nothing good is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from gateway.decoding.steps import LARGE_BYTES
from gateway.submitting.arguments import MAX_FAULTS, UNSEEN, Signature

MAX_VALUES: Final = 16_384
"""Values looked at, of all arguments together, counted by their commas."""
_BEGINNING_BYTES: Final = 32 * 1024
_SHORT_BYTES: Final = 64
"""What is no longer is looked at always."""

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKETS: Final = re.compile(rb"[][{}]")
_ENDS: Final = {b"[": b"]", b"{": b"}"}


_positional = msgspec.json.Decoder(list[msgspec.Raw]).decode
_keywords = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def beginnings(
    signatures: Sequence[Signature], args: bytes, kwargs: bytes
) -> tuple[Sequence[msgspec.Raw], Mapping[str, msgspec.Raw]]:
    """Return of a great many arguments as many as are worth a look, and of each as much.

    Args:
        signatures: Those that are announced of the task.
        args: A JSON array.
        kwargs: A JSON object.

    Raises:
        msgspec.DecodeError: They are not that.
    """
    look = _Look().of
    positional: Sequence[msgspec.Raw]
    if len(args) <= LARGE_BYTES:
        positional = _positional(args)
    else:  # those with a name count, however long the ones before them are
        named = msgspec.structs.astuple(_first(max(map(_worth_a_look, signatures)))(args))
        positional = [one for one in named if one is not msgspec.UNSET]
        if any(one.takes_any_number for one in signatures):
            positional += _positional(beginning(bytes(args)))[len(named) :]
    if len(kwargs) <= LARGE_BYTES:
        keywords: dict[str, msgspec.Raw] = _keywords(kwargs)
    else:
        # Those that a signature knows, and the first that it does not, wherever they are.
        known = [one.known_keywords(kwargs) for one in signatures]
        unknown = [one.unknown_keyword(kwargs) for one in signatures]
        keywords = {name: UNSEEN for name in unknown if name is not None}
        keywords |= _keywords(beginning(bytes(kwargs)))
        for some in known:
            keywords |= some
    return [look(one) for one in positional], {name: look(raw) for name, raw in keywords.items()}


def _worth_a_look(signature: Signature) -> int:
    """Return how many positional arguments are looked at for certain, however long they are."""
    return signature.named + MAX_FAULTS


@lru_cache(maxsize=64)
def _first(count: int) -> Callable[[bytes], msgspec.Struct]:
    """Return what reads the first so many elements of an array, and skips the others."""
    raw = msgspec.Raw | msgspec.UnsetType
    fields = [(f"element_{place}", raw, msgspec.UNSET) for place in range(count)]
    return msgspec.json.Decoder(msgspec.defstruct("First", fields, array_like=True)).decode


def beginning(text: bytes, most: int = _BEGINNING_BYTES) -> bytes:
    """Return the JSON value of the first elements or members of an array or object.

    Args:
        text: Well-formed JSON.
        most: About how many octets.
    """
    if len(text) <= most:
        return text
    # Strings become as many blanks: what is in them is no structure.
    structure = _STRING.sub(lambda string: b" " * len(string[0]), text[:most])
    opened, comma = max(structure.rfind(b"["), structure.rfind(b"{")), structure.rfind(b",")
    if opened < 0:
        return text  # one string or number
    end = max(opened + 1, comma)
    open_: list[bytes] = []
    for bracket in _BRACKETS.findall(structure, 0, end):
        if bracket in _ENDS:
            open_.append(_ENDS[bracket])
        else:
            open_.pop()
    return text[:end] + b"".join(reversed(open_))


class _Look:
    """Says how much of each argument is looked at."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def of(self, raw: msgspec.Raw) -> msgspec.Raw:
        """Return the argument, its beginning, or `UNSEEN`."""
        text = bytes(raw)
        if len(text) <= _SHORT_BYTES:
            return raw
        values = text.count(b",")
        if values <= self._left:
            self._left -= values
            return raw
        left, self._left = self._left, 0
        return msgspec.Raw(beginning(text)) if left else UNSEEN
