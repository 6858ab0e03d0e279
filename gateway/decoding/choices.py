"""JSON Schema of what the types of single fields cannot say: which members go together. Pure.

Programs that write clients from a description make a class of each choice of a `oneOf`, and leave
out the properties beside it; `if` and `else` say the same to validators, and nothing to them.
"""

from typing import Any, Final

Schema = dict[str, Any]
NOT_NULL: Final[Schema] = {"not": {"type": "null"}}


def given(name: str) -> Schema:
    """Return the schema of an object that has the property, and not as null."""
    return {"required": [name], "properties": {name: NOT_NULL}}


def missing(*names: str) -> Schema:
    """Return the schema of an object that has none of the properties, but as null."""
    return {"not": {"anyOf": [given(name) for name in names]}}


def one_of(*choices: Schema) -> Schema:
    """Return the schema of what fits exactly one of some schemas."""
    return only({"oneOf": list(choices)})


def only(schema: Schema) -> Schema:
    """Return one that says the same to validators; programs that write clients see no type."""
    return {"if": schema, "else": {"not": {}}}
