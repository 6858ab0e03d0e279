"""Places in a list of tasks, newest first, as opaque text. Pure."""

import base64
import binascii
import re

_FORM = re.compile(r"(\d{1,15}):(.{1,512})", re.DOTALL | re.ASCII)

Place = tuple[int, str]
"""When the last task that was given was accepted, unix milliseconds, and its id."""


def text_of(place: Place) -> str:
    """Return a place as text for an URL."""
    return base64.urlsafe_b64encode(f"{place[0]}:{place[1]}".encode()).decode().rstrip("=")


def place_of(text: str) -> Place:
    """Return the place of a text.

    Raises:
        ValueError: It is no cursor.
    """
    try:
        octets = text.encode("ascii") + b"=" * (-len(text) % 4)
        found = _FORM.fullmatch(base64.b64decode(octets, altchars=b"-_", validate=True).decode())
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is no cursor") from error
    if found is None:
        raise ValueError("it is no cursor")
    return int(found[1]), found[2]
