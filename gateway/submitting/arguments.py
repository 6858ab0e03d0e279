"""Arguments checked against an announced signature, each one from its raw JSON. Pure.

The announced JSON Schemas become msgspec decoders once; a check decodes each argument with its
own, so every bad argument is named. Strict where Python is: `integer` takes neither `true` nor
`1.0` (the task would get a float), `number` takes no string. What a decoder cannot express, and
schema words it does not know, are not checked: only what surely does not fit is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, Union

import msgspec

from gateway.decoding.typed_json import MAX_QUOTED
from gateway.errors import Fault

MAX_FAULTS = 100
"""Faults listed at most; one request can hold 100,000 bad arguments."""

UNSEEN = msgspec.Raw(b"")
"""Stands for an argument that is not looked at."""

_SHORT_BYTES = 64
_EXPONENT = re.compile(rb"(?<=[0-9])(?:\.[0-9]++)?+[eE][+-]?[0-9]++")
_UNKNOWN_FIELD = "Object contains unknown field `"
"""How msgspec begins to say so; the name and a backtick follow."""
Decode = Callable[[msgspec.Raw], Any]

_SIMPLE: dict[str, Any] = {
    "integer": int,
    "number": float,
    "string": str,
    "boolean": bool,
    "null": None,
}

_SCHEMA_WORDS = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "bool": "boolean",
    "`": "",
}
_PYTHON_TYPE = re.compile("`|" + "|".join(rf"\b{word}\b" for word in _SCHEMA_WORDS if word != "`"))


def decoder(schema: Mapping[str, Any]) -> Decode:
    """Return what raises `msgspec.ValidationError` for raw JSON that the schema excludes."""
    choices = schema.get("anyOf")
    if isinstance(choices, list) and choices:
        try:
            type_ = _type(schema, exact=True)
            decode = msgspec.json.Decoder(type_, float_hook=_any_float).decode
        except TypeError:  # a union that msgspec cannot tell apart: list[int] | list[str]
            return _any_of([decoder(choice) for choice in choices])
    else:
        type_ = _type(schema)
        decode = msgspec.json.Decoder(type_, float_hook=_any_float).decode
    light = _has_inner_number(schema) and "enum" not in repr(schema)
    return _without_exponents(decode) if light else decode


def _has_inner_number(schema: Mapping[str, Any], *, inside: bool = False) -> bool:
    """Return whether many numbers may stand in one value."""
    if schema.get("type") == "number":
        return inside
    inner = [schema.get("items"), schema.get("additionalProperties")]
    return any(
        _has_inner_number(one, inside=True) for one in inner if isinstance(one, dict)
    ) or any(_has_inner_number(one, inside=inside) for one in schema.get("anyOf") or ())


def _any_float(_digits: str) -> float:
    """Return any float: msgspec takes microseconds for large exponents."""
    return 0.0


def _without_exponents(decode: Decode) -> Decode:
    """Return the same decision for numbers of the same kind; only types are looked at."""

    def lighter(raw: msgspec.Raw) -> Any:
        text = bytes(raw)
        if len(text) > _SHORT_BYTES and (b"e" in text or b"E" in text):
            return decode(msgspec.Raw(_EXPONENT.sub(b".0", text)))
        return decode(raw)

    return lighter


_ANY: Any = msgspec.Raw
"""Whatever it is, nothing is built of it."""


class _AnyArray(msgspec.Struct, array_like=True):
    """An array whose elements are skipped: a Raw for each takes ten times as long."""


class _AnyObject(TypedDict):
    """An object whose members are skipped. No Struct: a union takes one of those only."""


def _type(schema: Mapping[str, Any], *, exact: bool = False) -> Any:
    """Return the Python type of a schema; `_ANY` where there is none, TypeError for some unions."""
    if isinstance(choices := schema.get("anyOf"), list) and choices:
        types = [_type(choice) for choice in choices]
        union = _ANY if _ANY in types else Union[tuple(types)]  # noqa: UP007  # built at run time
        return union if exact or _decodable(union) else _ANY
    if isinstance(values := schema.get("enum"), list) and values:
        plain = all(value is None or type(value) in {str, int} for value in values)
        return Literal[tuple(values)] if plain else _ANY
    match schema.get("type"):
        case "array":
            item = _type(schema.get("items") or {})
            return _AnyArray if item is _ANY else list[item]  # type: ignore[valid-type]  # built at run time
        case "object":
            extra = schema.get("additionalProperties")
            member = _type(extra) if isinstance(extra, dict) else _ANY
            return _AnyObject if member is _ANY else dict[str, member]  # type: ignore[valid-type]
        case str(name):
            return _SIMPLE.get(name, _ANY)
    return _ANY


def _decodable(type_: Any) -> bool:
    try:
        msgspec.json.Decoder(type_)
    except TypeError:
        return False
    return True


def _any_of(decoders: Sequence[Decode]) -> Decode:
    def decode(raw: msgspec.Raw) -> Any:
        for one in decoders:
            try:
                return one(raw)
            except msgspec.ValidationError as error:
                refusal = error
        raise refusal

    return decode


class Signature:
    """The parameters of one announced task.

    Args:
        params: As announced: `name`, `kind` (of `inspect.Parameter`), `required`, `schema`.

    Raises:
        KeyError, TypeError, AttributeError: The announcement does not have that form.
    """

    __slots__ = (
        "_by_name",
        "_extra_names",
        "_known",
        "_names",
        "_only_known",
        "_positional",
        "_required",
        "_rest",
    )

    def __init__(self, params: Sequence[Mapping[str, Any]]) -> None:
        self._positional: list[Decode] = []
        self._names: list[str] = []
        self._by_name: dict[str, tuple[int, Decode]] = {}
        self._rest: Decode | None = None
        self._extra_names: Decode | None = None
        self._known: Callable[[bytes], msgspec.Struct] | None = None
        self._only_known: Callable[[bytes], msgspec.Struct] | None = None
        required: list[tuple[int, str]] = []
        for param in params:
            kind, name, decode = param["kind"], param["name"], decoder(param["schema"])
            place = len(params)  # keyword-only: behind every positional argument
            match kind:
                case "var_positional":
                    self._rest = decode
                    continue
                case "var_keyword":
                    self._extra_names = decode
                    continue
                case "positional_only" | "positional_or_keyword":
                    place = len(self._positional)
                    self._positional.append(decode)
                    self._names.append(name)
            if kind != "positional_only":
                self._by_name[name] = (place, decode)
            if param["required"]:
                required.append((place, name))
        self._required = [
            tuple(name for place, name in required if place >= given)
            for given in range(len(self._positional) + 1)
        ]
        """Required names by the number of positional arguments given."""

    @property
    def named(self) -> int:
        """How many positional arguments have a name."""
        return len(self._positional)

    @property
    def takes_any_number(self) -> bool:
        """Whether it has `*args`."""
        return self._rest is not None

    def known_keywords(self, kwargs: bytes) -> dict[str, msgspec.Raw]:
        """Return those keyword arguments that have a name here; the others are skipped.

        Args:
            kwargs: A JSON object.
        """
        if self._known is None:
            self._known = self._keyword_reader(strict=False)
        found = msgspec.structs.astuple(self._known(kwargs))
        given = zip(self._by_name, found, strict=True)
        return {name: raw for name, raw in given if raw is not msgspec.UNSET}

    def unknown_keyword(self, kwargs: bytes) -> str | None:
        """Return the first keyword argument that the task does not take; None: it takes all.

        Args:
            kwargs: A JSON object; values are skipped.
        """
        if self._extra_names is not None:
            return None
        if self._only_known is None:
            self._only_known = self._keyword_reader(strict=True)
        try:
            self._only_known(kwargs)
        except msgspec.ValidationError as error:
            said = str(error)
            if said.startswith(_UNKNOWN_FIELD):
                return said[len(_UNKNOWN_FIELD) : -1]
        return None

    def _keyword_reader(self, *, strict: bool) -> Callable[[bytes], msgspec.Struct]:
        raw = msgspec.Raw | msgspec.UnsetType
        fields = [(f"keyword_{place}", raw, msgspec.UNSET) for place in range(len(self._by_name))]
        names = {field: name for (field, *_), name in zip(fields, self._by_name, strict=True)}
        struct = msgspec.defstruct("Known", fields, rename=names, forbid_unknown_fields=strict)
        return msgspec.json.Decoder(struct).decode

    def faults(
        self, args: Sequence[msgspec.Raw], kwargs: Mapping[str, msgspec.Raw], *, skip: int = 0
    ) -> list[Fault]:
        """Everything that does not fit; empty when the arguments fit.

        Args:
            args: Positional arguments, raw JSON, or `UNSEEN`.
            kwargs: Keyword arguments alike.
            skip: How many positional arguments stand in front of `args` and are not known yet.

        Raises:
            msgspec.DecodeError: An argument is not JSON.
            RecursionError: An argument is nested too deep.
        """
        faults: list[Fault] = []
        positional = self._positional
        place = skip
        for number, raw in enumerate(args):
            if place < len(positional):
                decode: Decode | None = positional[place]
            else:
                decode = self._rest
            if decode is None:
                faults.append(
                    Fault(f"$.args[{number}]", f"too many: the task takes {len(positional)}")
                )
            elif raw is not UNSEEN:
                try:
                    decode(raw)
                except msgspec.ValidationError as error:
                    faults.append(_fault(f"$.args[{number}]", error))
            place += 1
            if len(faults) >= MAX_FAULTS:
                return faults
        given = min(place, len(positional))
        if kwargs:
            faults += self._keyword_faults(kwargs, given)
        for name in self._required[given]:
            if name not in kwargs:
                faults.append(Fault(f"$.kwargs.{name}", "missing"))
        return faults[:MAX_FAULTS]

    def _keyword_faults(self, kwargs: Mapping[str, msgspec.Raw], given: int) -> list[Fault]:
        faults = []
        for name, raw in kwargs.items():
            place, decode = self._by_name.get(name, (given, self._extra_names))
            if decode is None:
                faults.append(Fault(_at(name), "unexpected: the task has no such keyword"))
            elif place < given:
                faults.append(Fault(f"$.kwargs.{name}", "given twice: it is also in args"))
            elif raw is not UNSEEN:
                try:
                    decode(raw)
                except msgspec.ValidationError as error:
                    faults.append(_fault(f"$.kwargs.{name}", error))
            if len(faults) >= MAX_FAULTS:
                break
        return faults


def _at(keyword: str) -> str:
    """Return the place of a keyword argument, whose name may be as long as the body."""
    return f"$.kwargs.{keyword if len(keyword) <= MAX_QUOTED else keyword[:MAX_QUOTED] + '…'}"


def _fault(at: str, error: msgspec.ValidationError) -> Fault:
    """Return what msgspec found, in words of JSON Schema, its inner path behind the argument's."""
    detail, _, inner = str(error).partition(" - at `$")
    return Fault(at + inner.removesuffix("`"), _PYTHON_TYPE.sub(_schema_word, detail))


def _schema_word(match: re.Match[str]) -> str:
    return _SCHEMA_WORDS[match[0]]
