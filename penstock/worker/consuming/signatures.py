"""From a task function to its catalog entry: JSON Schema, doc, version. Pure."""

import dataclasses
import hashlib
import inspect
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union

from penstock.worker.running.authored import Authored

Schema = dict[str, Any]

_SIMPLE: Mapping[Any, Schema] = types.MappingProxyType(
    {
        int: {"type": "integer"},
        float: {"type": "number"},
        str: {"type": "string"},
        bool: {"type": "boolean"},
        None: {"type": "null"},
        type(None): {"type": "null"},
        list: {"type": "array"},
        dict: {"type": "object"},
    },
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What is announced of one task."""

    task: str
    entry: Mapping[str, Any]
    """The catalog entry without `seen`."""

    @property
    def field(self) -> str:
        """The field of the catalog's hash: one per task and schema.

        While workers of two releases run side by side both schemas are announced, and the gateway
        refuses arguments only when neither fits.
        """
        shape = [self.entry["params"], self.entry["returns"]]
        digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()
        return f"{self.task}\n{digest[:12]}"


def describe(task: str, authored: Authored, version: str) -> Described:
    """Describe a task by the hints and the docstring of its function.

    Args:
        task: its name.
        authored: its function; what the worker gives it is left out.
        version: of the code that announces.
    """
    signature = authored.signature()
    return Described(
        task=task,
        entry={
            "task": task,
            "doc": inspect.getdoc(authored.run) or "",
            "version": version,
            "coroutine": authored.is_coroutine,
            "params": [_parameter(one) for one in signature.parameters.values()],
            "returns": schema(signature.return_annotation),
        },
    )


def schema(hint: Any) -> Schema:
    """Return the JSON Schema of a type hint; `{}`, which every value fits, when it has none."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return schema(arguments[0])
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema(one) for one in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": schema(arguments[0])}
    if origin is dict and arguments[0] is str:
        return {"type": "object", "additionalProperties": schema(arguments[1])}
    simple = next((found for known, found in _SIMPLE.items() if known is hint), None)
    return dict(simple) if simple else {}


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    variable = parameter.kind in (
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    )
    has_default = parameter.default is not inspect.Parameter.empty
    described = {
        "name": parameter.name,
        "kind": parameter.kind.name.lower(),
        "required": not has_default and not variable,
        "schema": schema(parameter.annotation),
    }
    if has_default and _is_json(parameter.default):
        described["default"] = parameter.default
    return described


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
