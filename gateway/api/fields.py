"""Types of fields that several answers have."""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
