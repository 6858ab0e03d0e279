"""The JSON of messages and results in this process: kombu's, with data kept apart from values.

kombu's decoder turns `{"__type__": "datetime", "__value__": "…"}` into a datetime and raises on a
type that it does not know, whoever wrote it. Here that happens to what a task wrote as a datetime,
and to what stock Celery published; what a client sent stays what it is (penstock/wire).

An application may register `json` with kombu anew, for types of its own. Then its functions write
what they are given, and read all that no publisher says the meaning of.
"""

import json
from enum import Enum
from typing import Any

import orjson
from kombu.serialization import dumps, loads, registry
from kombu.utils.json import JSONEncoder, object_hook
from kombu.utils.json import loads as kombus_loads

from penstock.wire.json_meaning import (
    DATA,
    MEMBER,
    TYPE,
    TYPE_KEY,
    VALUE,
    is_envelope,
    mark_of,
    marking,
    mixed,
    new_mark,
)


class _Encoder(JSONEncoder):
    """Celery's, which counts the values that it puts in envelopes.

    Args:
        mark: Put them under this key instead; None: in envelopes.
        options: Of `json.JSONEncoder`.
    """

    def __init__(self, mark: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._mark = mark
        self.values = 0

    def default(self, o: Any) -> Any:
        """Return what JSON can say of a value."""
        written = super().default(o)  # type: ignore[no-untyped-call]  # kombu has no types
        if isinstance(written, dict) and is_envelope(written):
            self.values += 1
            return {self._mark: [written[TYPE], written[VALUE]]} if self._mark else written
        return written


_CONTENT_TYPE = "application/json"
_decoders = registry._decoders  # noqa: SLF001  # what is registered has no other name


def _registered_anew() -> bool:
    return _decoders.get(_CONTENT_TYPE) is not kombus_loads


class Form(Enum):
    """How JSON is written: what separates items and keys, and whether NaN and infinity may be."""

    CELERYS = (None, True)
    """As kombu writes it."""

    COMPACT = ((",", ":"), True)
    STRICT = ((",", ":"), False)
    """Every reader takes it."""

    @property
    def options(self) -> dict[str, Any]:
        """Those of `json.JSONEncoder`."""
        separators, allow_nan = self.value
        return {"separators": separators, "allow_nan": allow_nan}


_WRITE = {form: JSONEncoder(**form.options).encode for form in Form}


def encode(value: Any, form: Form = Form.CELERYS) -> tuple[str, str | None]:
    """Write a value as JSON.

    Args:
        value: What `kombu.utils.json.JSONEncoder` takes.
        form: How.

    Returns:
        The JSON, and what it means; None: what Celery says.

    Raises:
        TypeError, ValueError, RecursionError: It has no JSON.
    """
    if _registered_anew():
        _, _, written = dumps(value, serializer="json")
        return _WRITE[form](json.loads(written)), None
    text = _WRITE[form](value)
    if TYPE_KEY not in text:
        return text, None
    options = form.options
    encoder = _Encoder(**options)
    text = encoder.encode(value)
    if text.count(TYPE_KEY) == encoder.values:
        return text, None  # every envelope is of a value
    mark = new_mark(text)
    pure = _Encoder(mark, **options).encode(value)
    marked = json.loads(pure, object_hook=marking(mark))
    return json.dumps(marked, **options), mixed(mark)


def decode(body: Any, meaning: object = None) -> Any:
    """Read JSON.

    An envelope that is no value of a known type is an object like any other.

    Args:
        body: UTF-8, as bytes, memoryview or text.
        meaning: What was said of it, by whoever published it; what is not understood is ignored.

    Raises:
        ValueError: It is no JSON, or has an integer of more digits than Python reads.
        RecursionError: It is nested too deeply.
    """
    text = body if isinstance(body, str) else bytes(body).decode()
    if meaning is None and _registered_anew():
        return loads(text, _CONTENT_TYPE, "utf-8", accept={_CONTENT_TYPE})
    if meaning == DATA or not _may_have_envelopes(text):
        return json.loads(text)
    mark = mark_of(meaning)
    if mark is None:
        return json.loads(text, object_hook=_value)

    def value_or_data(found: dict[str, Any]) -> Any:
        if mark in found:
            del found[mark]
            return found
        return _value(found)

    return json.loads(text, object_hook=value_or_data)


def encode_record(value: Any, form: Form = Form.CELERYS) -> str:
    """Write what is stored in Redis as JSON that says itself what it means.

    Args:
        value: A dict, or a list `[1, task id, state, result]`: a part of a chord
            (`celery.backends.redis.RedisBackend.on_chord_part_return`).
        form: How it is written; STRICT is also without halves of surrogate pairs.

    Raises:
        TypeError, ValueError, RecursionError: It has no JSON.
    """
    text, meaning = encode(value, form)
    if form is Form.STRICT and "\\ud" in text:
        _check_pairs(text)
    if meaning is None:
        return text
    if text.startswith("{"):
        return f'{text[:-1]},"{MEMBER}":"{meaning}"}}'
    # Nobody reads the 1 that Celery puts there.
    return f'["{meaning}"{text[2:]}' if text.startswith("[1,") else text


def decode_record(body: Any) -> Any:
    """Read what is stored in Redis, by us or by stock Celery.

    Args:
        body: As `decode`.

    Raises:
        ValueError, RecursionError: As `decode`.
    """
    text = body if isinstance(body, str) else bytes(body).decode()
    found = json.loads(text)
    if not _may_have_envelopes(text) and not _registered_anew():
        return found
    if isinstance(found, dict):
        return decode(text, found.get(MEMBER))
    return decode(text, found[0] if isinstance(found, list) and found else None)


def _may_have_envelopes(text: str) -> bool:
    return TYPE_KEY in text or "\\u00" in text  # a key may be written in escapes


def _value(found: dict[str, Any]) -> Any:
    """Make an envelope the value that it is; kombu raises on what is none."""
    if not is_envelope(found):
        return found
    try:
        return object_hook(found)
    except Exception:  # noqa: BLE001  # of any decoder that was registered with kombu
        return found


def _check_pairs(text: str) -> None:
    """Look for half of a surrogate pair, which is no text in any other language.

    Raises:
        UnicodeEncodeError: There is one.
    """
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:  # it also refuses integers of over 308 digits
        json.dumps(json.loads(text), ensure_ascii=False).encode()
