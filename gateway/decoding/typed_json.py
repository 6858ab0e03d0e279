"""JSON → a struct, each fault of its form a `Problem` that names the place."""

import math
import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.errors import Fault, Problem

MAX_QUOTED: Final = 200
"""Characters of a client's name or value in a refusal."""
_FIELD: Final = re.compile(r"field `(.+)`", re.DOTALL)
_LONG: Final = re.compile(rf"([`'])(.{{{MAX_QUOTED}}}).+", re.DOTALL)
_EMPTY: Final = "the body is empty"
_HALF_PAIR: Final = "a \\u escape is half of a surrogate pair, which is no character"
_SHORT_BYTES: Final = 256
"""In more there is time to read an extreme number."""
_EXTREME: Final = re.compile(rb"[eE][+-]?0*+[23][0-9]{2}")
"""An exponent near the ends of a double's range. msgspec takes 7 µs for each such number: more than
for the rest of a line that is refused."""
_HUGE: Final = re.compile(rb"[eE]\+?0*+[23][0-9]{2}")
_TINY: Final = re.compile(rb"[eE]-0*+[23][0-9]{2}")
_REPLACED: Final = re.compile(r"e22|e-280")

_skip = msgspec.json.Decoder(msgspec.Raw).decode  # reads all, builds nothing


def finite(digits: str) -> float:
    """Return a float without a type: msgspec's own reading takes microseconds for large exponents.

    Raises:
        ValueError: It is over the range of a double.
    """
    number = float(digits)
    if math.isinf(number):
        raise ValueError("Number out of range")
    return number


def decode_with(decode: Any, body: bytes) -> Any:
    """Decode UTF-8 JSON with a msgspec decoder.

    Raises:
        Problem: `malformed-json`, `invalid-request` (queued: no).
    """
    try:
        if not body.isascii():
            body.decode()
        if len(body) < _SHORT_BYTES and _EXTREME.search(body):
            _look_at_form(decode, body)
        return decode(body)
    except msgspec.ValidationError as error:
        _check_json(body)
        detail, faults = _refusal(_cut(str(error)))
        raise Problem("invalid-request", detail, queued="no", faults=faults) from None
    except UnicodeDecodeError as error:
        raise malformed(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise malformed("nested too deeply") from None
    except msgspec.DecodeError as error:
        raise malformed(_words(error, body)) from None


def _words(error: msgspec.DecodeError, body: bytes) -> str:
    """Say what is wrong; msgspec takes half of a surrogate pair for the end of the text."""
    if not body or body.isspace():
        return _EMPTY
    said = str(error)
    return f"{said}, or {_HALF_PAIR}" if said.endswith("truncated") and b"\\u" in body else said


def malformed(detail: str) -> Problem:
    """Return a 400 for a body that is not JSON."""
    return Problem("malformed-json", detail, queued="no", faults=_at_root(detail))


def _look_at_form(decode: Any, body: bytes) -> None:
    """Look for a fault of form, with less extreme numbers in the place of those that cost much.

    Of so few digits each stays on the side of zero and of every field's bound where it was, or
    within the bounds, so the fault is the same, unless it quotes a name with such digits.

    Raises:
        msgspec.ValidationError: As `decode` would.
    """
    try:
        decode(_TINY.sub(b"e-280", _HUGE.sub(b"e22", body)))
    except msgspec.ValidationError as error:
        field = _FIELD.search(str(error))
        if field is None or not _REPLACED.search(field[1]):
            raise
    except msgspec.DecodeError:
        return


def _check_json(body: bytes) -> None:
    """Look for a worse fault behind one of form, at which the decoder stopped.

    Raises:
        Problem: `malformed-json` (queued: no).
    """
    try:
        _skip(body)
    except RecursionError:
        raise malformed("nested too deeply") from None
    except msgspec.DecodeError as error:
        raise malformed(str(error)) from None


def _cut(message: str) -> str:
    """Shorten what msgspec quotes of a client, which may be as long as the body."""
    detail, separator, path = message.partition(" - at `")
    return _LONG.sub(r"\1\2…\1", detail) + separator + path[:MAX_QUOTED]


@lru_cache(maxsize=1024)
def _refusal(message: str) -> tuple[str, tuple[Fault, ...]]:
    """Detail and faults of a refusal: a bulk request may have a million of them."""
    at, detail = _fault(message)
    return f"{at}: {detail}", (Fault(at, detail),)


def _fault(message: str) -> tuple[str, str]:
    """Return where and what, from msgspec's words: `… - at `$.options``, `… field `name``."""
    detail, _, path = message.partition(" - at `")
    at = path.rstrip("`") or "$"
    field = _FIELD.search(detail)
    return (f"{at}.{field[1]}" if field else at), detail


@lru_cache(maxsize=1024)
def _at_root(detail: str) -> tuple[Fault, ...]:
    return (Fault("$", detail),)
