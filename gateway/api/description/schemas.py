"""Structs → JSON Schema, with the docstrings of their fields as descriptions. Pure."""

import ast
import inspect
import itertools
import textwrap
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

import msgspec

from gateway.decoding.choices import Schema, only

REF: Final = "#/components/schemas/{name}"
_NULL: Final[Schema] = {"type": "null"}
_WITHIN: Final = ("items", "additionalProperties")


def schemas_of(kinds: Iterable[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """Return the schema of each type, and the named schemas that they refer to.

    Args:
        kinds: Structs, and types made of them.
    """
    kinds = list(kinds)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    for struct in {found for kind in kinds for found in _structs(kind)}:
        _complete(components[struct.__name__], struct)
    plain = {name: _plain(schema) for name, schema in sorted(components.items())}
    return [_plain(schema) for schema in schemas], plain


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """Every struct that a type is made of."""
    if typing.get_origin(kind) is None and isinstance(kind, type):
        if issubclass(kind, msgspec.Struct):
            yield kind
            for hint in typing.get_type_hints(kind, include_extras=True).values():
                yield from _structs(hint)
        return
    for part in typing.get_args(kind):
        yield from _structs(part)


def _complete(schema: Schema, struct: type[msgspec.Struct]) -> None:
    """Add to a struct's schema what msgspec does not see.

    The docstrings of its fields; that a field of its default is left out, where the struct says
    so; and its own `SCHEMA`, for what the types of single fields cannot say.
    """
    words = field_docs(struct)
    for field, name in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True):
        found = schema["properties"][name]
        if struct.__struct_config__.omit_defaults and "default" in found:
            found = _never_null(found)
        if field in words and "description" not in found:
            found = {**found, "description": words[field]}
        schema["properties"][name] = found
    schema.update(getattr(struct, "SCHEMA", {}))


def _plain(schema: Schema) -> Schema:
    """Return the same schema in words that programs understand that write clients from it.

    Arrays have `items`; a type or null is one list of types; a list among choices is no class to
    them; a default is a literal of the one type it stands beside.
    """
    schema = dict(schema)
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])
    if schema.get("type") == "array":
        schema.setdefault("items", {})
    if all(isinstance(one, str) for one in schema.get("enum", (None,))):
        schema.setdefault("type", "string")
    for word in _WITHIN:
        if isinstance(schema.get(word), dict):
            schema[word] = _plain(schema[word])
    if "properties" in schema:
        found = schema["properties"].items()
        schema["properties"] = {name: _plain(one) for name, one in found}
    if "anyOf" in schema:
        schema["anyOf"] = _choices([_plain(one) for one in schema["anyOf"]])
        match schema["anyOf"]:
            case [{"type": str(kind)} as one, {"type": "null"}] if "enum" not in one:
                del schema["anyOf"]
                schema = {**one, **schema, "type": [kind, "null"]}
            case [one]:
                del schema["anyOf"]
                schema = {**one, **schema}
            case choices if any(one.get("type") == "array" for one in choices):
                del schema["anyOf"]
                schema |= only({"anyOf": choices})
    if not isinstance(schema.get("type"), str) or isinstance(schema.get("default"), dict | list):
        schema.pop("default", None)
    return schema


def _choices(found: list[Schema]) -> list[Schema]:
    """Return the choices without whole numbers, where any number like them will do."""
    return [
        one
        for one in found
        if one.get("type") != "integer" or {**one, "type": "number"} not in found
    ]


def _never_null(schema: Schema) -> Schema:
    """Return the schema of an optional field that is absent instead of null."""
    rest = {name: value for name, value in schema.items() if name != "default"}
    choices = [each for each in rest.pop("anyOf", ()) if each != _NULL]
    if len(choices) == 1:
        return {**choices[0], **rest}
    return {**rest, "anyOf": choices} if choices else rest


@cache
def field_docs(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the docstring under each field of a struct, those of its bases included."""
    found: dict[str, str] = {}
    for each in reversed(struct.__mro__):
        if not issubclass(each, msgspec.Struct) or each is msgspec.Struct:
            continue
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, below in itertools.pairwise(body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    found[name] = inspect.cleandoc(words).replace("\n", " ")
    return found
