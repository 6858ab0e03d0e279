"""Query parameters: each is declared once, and the declaration reads and describes it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from aiohttp import web

from gateway.errors import Queued, invalid_request

Value = TypeVar("Value")
MAX_WAIT_S: Final = 60.0
_SECONDS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter(Generic[Value]):
    """One query parameter of one or more routes."""

    name: str
    words: str
    """What it does, for people."""
    schema: dict[str, Any]
    """What it may be, as JSON Schema."""
    read: Callable[[str], Value]
    """Returns its value; raises ValueError."""
    expected: str
    """What a refusal says behind `Expected`."""
    default: Value
    """The value where the parameter is absent."""

    def of(self, request: web.Request, *, queued: Queued | None = None) -> Value:
        """Return the value of a request.

        Args:
            request: The request.
            queued: What a refusal says of a message.

        Raises:
            Problem: `invalid-request`.
        """
        text = request.query.get(self.name)
        if text is None:
            return self.default
        try:
            return self.read(text)
        except ValueError:
            raise invalid_request(
                f"?{self.name}", f"Expected {self.expected}", queued=queued
            ) from None


def text(name: str, words: str) -> Parameter[str | None]:
    """Declare a parameter that may be any text."""
    return Parameter(
        name=name, words=words, schema={"type": "string"}, read=str, expected="text", default=None
    )


def choice(
    name: str, words: str, values: dict[str, Value], default: Value, expected: str = ""
) -> Parameter[Value]:
    """Declare a parameter with few values.

    Args:
        name: Its name.
        words: What it does.
        values: Text → value.
        default: Where it is absent.
        expected: For a refusal; by default the texts.
    """

    def read(text: str) -> Value:
        if text not in values:
            raise ValueError(text)
        return values[text]

    return Parameter(
        name=name,
        words=words,
        schema={"enum": list(values)},
        read=read,
        expected=expected or f"one of {', '.join(values)}",
        default=default,
    )


def whole_number(name: str, words: str, default: int, at_most: int) -> Parameter[int]:
    """Declare a parameter that is a whole number from 1."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= at_most:
            raise ValueError(text)
        return int(text)

    return Parameter(
        name=name,
        words=words,
        schema={"type": "integer", "minimum": 1, "maximum": at_most, "default": default},
        read=read,
        expected=f"a whole number from 1 to {at_most}",
        default=default,
    )


def _seconds(text: str) -> float:
    if not _SECONDS.fullmatch(text) or float(text) > MAX_WAIT_S:
        raise ValueError(text)
    return float(text)


WAIT: Final[Parameter[float | None]] = Parameter(
    name="wait",
    words="Seconds to wait for the end of the task.",
    schema={"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
    read=_seconds,
    expected="seconds from 0 to 60",
    default=None,
)
