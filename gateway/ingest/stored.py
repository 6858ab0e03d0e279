"""What MongoDB made of a request's batches, added up from their results."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from gateway.watching.states import State

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


def add_up(batches: Iterable[tuple[str, int]], ended: Mapping[str, State]) -> dict[str, Any] | None:
    """`stored`, `duplicates` and `failed` of a request; None while a batch has not ended.

    Args:
        batches: Id and number of documents of each, in the request's order.
        ended: The final states that are known, by id.
    """
    stored = duplicates = offset = 0
    failed: list[dict[str, Any]] = []
    for task_id, count in batches:
        state = ended.get(task_id)
        if state is None or not state.final:
            return None
        result = _result(state)
        if result is None:
            error = state.error or {}
            detail = f"{state.state}: {error.get('type', '')} {error.get('message', _INFLATED)}"
            failed += (
                {"index": offset + index, "_id": None, "detail": detail} for index in range(count)
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
