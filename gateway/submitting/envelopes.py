"""Arguments that a stock worker's decoder would not take for what they are. Pure.

kombu's decoder makes a value of an object `{"__type__": …, "__value__": …}`, or raises on it
(`kombu.utils.json.object_hook`); a message to workers of ours says that each object is data.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gateway.decoding.typed_json import finite
from gateway.errors import Fault, Problem
from penstock.wire.json_meaning import TYPE, is_envelope

_MOST_FAULTS: Final = 100
_NAME: Final = TYPE.encode()
_ESCAPE: Final = b"\\u"
"""Without one of the two no key can be `__type__`."""
_decode = msgspec.json.Decoder(float_hook=finite).decode


def check_no_envelopes(args: msgspec.Raw, kwargs: msgspec.Raw) -> None:
    """Refuse arguments that hold an object of kombu's form.

    Args:
        args: A JSON array that was checked.
        kwargs: A JSON object that was checked.

    Raises:
        Problem: `invalid-arguments` with a fault for each (queued: no).
    """
    faults = []
    for at, raw in (("$.args", bytes(args)), ("$.kwargs", bytes(kwargs))):
        if _NAME in raw or _ESCAPE in raw:
            faults += [Fault(place, _DETAIL) for place in _envelopes(_decode(raw), at)]
    if faults:
        raise Problem(
            "invalid-arguments",
            f"{faults[0].at}: {_DETAIL}",
            queued="no",
            faults=tuple(faults[:_MOST_FAULTS]),
        )


_DETAIL: Final = (
    "A worker of the app would not take an object with the members __type__ and __value__ for the "
    "object that it is"
)


def _envelopes(value: Any, at: str) -> Iterator[str]:
    """Yield the place of each object of kombu's form."""
    if isinstance(value, dict):
        if is_envelope(value):
            yield at
        for name, one in value.items():
            yield from _envelopes(one, f"{at}.{name}")
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _envelopes(one, f"{at}[{place}]")
