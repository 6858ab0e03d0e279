"""Types of fields that several answers have."""

from typing import Annotated, Any, Final

import msgspec

Schema = dict[str, Any]

Count = Annotated[int, msgspec.Meta(ge=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
NOT_NULL: Final[Schema] = {"not": {"type": "null"}}


def given(name: str) -> Schema:
    """Return the schema of an object that has the property, and not as null."""
    return {"required": [name], "properties": {name: NOT_NULL}}
