"""What MongoDB made of a request's batches, added up from their results."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import orjson

from gateway.states.state import State

_INFLATED: Final = "the batch ended without a readable result"


class _Failed(msgspec.Struct):
    index: int
    detail: str
    id: Any = msgspec.field(default=None, name="_id")


class _Result(msgspec.Struct):
    """The result of `documents.store`."""

    stored: int
    duplicates: int
    failed: list[_Failed]


_DECODER: Final = msgspec.json.Decoder(_Result)


def add_up(
    batches: Iterable[tuple[str, int, bytes]], ended: Mapping[str, State]
) -> dict[str, Any] | None:
    """`stored`, `duplicates` and `failed` of a request; None while a batch has not ended.

    Args:
        batches: Of each, in the request's order, its id, the number of its documents, and the JSON
            of their `_id`s joined by commas; empty where they were not kept.
        ended: The final states that are known, by id.
    """
    stored = duplicates = offset = 0
    failed: list[dict[str, Any]] = []
    for task_id, count, ids in batches:
        state = ended.get(task_id)
        if state is None or not state.final:
            return None
        result = _result(state)
        if result is None:
            error = state.error or {}
            detail = f"{state.state}: {error.get('type', '')} {error.get('message', _INFLATED)}"
            known = orjson.loads(b"[%b]" % ids) if ids else [None] * count
            failed += (
                {"index": offset + index, "_id": known[index], "detail": detail}
                for index in range(count)
            )
        else:
            stored += result.stored
            duplicates += result.duplicates
            failed += (
                {"index": offset + one.index, "_id": one.id, "detail": one.detail}
                for one in result.failed
            )
        offset += count
    return {"stored": stored, "duplicates": duplicates, "failed": failed}


def _result(state: State) -> _Result | None:
    if state.state != "SUCCESS" or state.result is None:
        return None
    try:
        return _DECODER.decode(state.result)
    except msgspec.DecodeError:
        return None
