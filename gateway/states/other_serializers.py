"""Records that an app stores otherwise than as JSON: their state is read, and their result is not.

A pickle is read without executing any of it: every class and function that it names is replaced by
one that does nothing (`pickle`, "Restricting Globals"). Pure.
"""

import io
import pickle  # nothing of a pickle is executed, see above
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Self

import msgspec

from penstock.wire.records import PROGRESS

_STATUS: Final = re.compile(rb"^status: ['\"]?([\w.-]+)['\"]?$", re.MULTILINE)
_MEMBER: Final = re.compile(
    rb"^(date_done|traceback|name|worker): ['\"]?(\S[^\n]*?)['\"]?$", re.MULTILINE
)
_NO_CHILDREN: Final = re.compile(rb"^children: null$", re.MULTILINE)
_KIND: Final = re.compile(rb"^  exc_type: (\w+)$", re.MULTILINE)
_MAPS: Final = frozenset((*range(0x81, 0x90), 0xDE, 0xDF))
"""First octets of a map in MessagePack that has members; a pickle begins with 0x80."""


class Foreign(NamedTuple):
    """A record, and how it is stored."""

    serializer: str
    members: Mapping[str, Any]
    """As decoded; an error is a mapping with `exc_type` and `exc_message`."""


class _Inert:
    """Stands for whatever a pickle names; does nothing."""

    kind = "Exception"

    def __new__(cls, *args: Any, **_: Any) -> Self:
        made = super().__new__(cls)
        made.args = args
        return made

    args: tuple[Any, ...]

    def _ignore(self, *_: Any, **__: Any) -> "_Inert":
        return self

    __call__ = __setstate__ = append = extend = add = __setitem__ = _ignore


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        return type("Named", (_Inert,), {"kind": global_name, "module": module_name})

    def persistent_load(self, _: Any, /) -> None:
        return None


def state_in(members: Mapping[str, Any]) -> str | None:
    """Return the state that a record says; None: it is no record.

    `update_state(meta=…)` without a state stores none, of a task that runs and reports progress.
    """
    state = members.get("status", "")
    return PROGRESS if state is None else state or None if isinstance(state, str) else None


def read(data: bytes) -> Foreign | None:
    """Return a record; None: it is none of a known form."""
    if data[:1] == b"\x80":
        return _mapping("pickle", lambda: _Reader(io.BytesIO(data)).load())
    if data and data[0] in _MAPS:
        return _mapping("msgpack", lambda: msgspec.msgpack.decode(data, ext_hook=lambda *_: None))
    if found := _STATUS.search(data):
        members: dict[str, Any] = {
            name.decode(): value.decode(errors="replace") for name, value in _MEMBER.findall(data)
        }
        if kind := _KIND.search(data):
            members["result"] = {"exc_type": kind[1].decode(), "exc_message": []}
        if _NO_CHILDREN.search(data):
            members["children"] = None
        state = found[1].decode()
        return Foreign("yaml", {**members, "status": PROGRESS if state == "null" else state})
    return None


def _mapping(serializer: str, load: Callable[[], Any]) -> Foreign | None:
    try:
        found = load()
    except Exception:  # noqa: BLE001  # whatever a broken pickle makes of us
        return None
    if not isinstance(found, dict) or (state := state_in(found)) is None:
        return None
    found["status"] = state
    result = found.get("result")
    if isinstance(result, _Inert):
        message = [str(one) for one in result.args if isinstance(one, str | int | float)]
        found["result"] = {"exc_type": result.kind, "exc_message": message}
    return Foreign(serializer, found)
