"""What MongoDB made of a request's batches, added up from their results."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from gateway.states.state import State

MAX_KEPT_PLACES: Final = 100_000
"""Skipped documents whose places are kept: with them, those of what MongoDB refuses."""
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
    batches: Iterable[tuple[str, int, bytes]],
    ended: Mapping[str, State],
    skipped_behind: Sequence[int] = (),
) -> dict[str, Any] | None:
    """`stored`, `duplicates` and `failed` of a request; None while a batch has not ended.

    Args:
        batches: Of each, in the request's order, its id, the number of its documents, and the JSON
            of their `_id`s joined by commas; empty where they were not kept.
        ended: The final states that are known, by id.
        skipped_behind: Of each document that is in no batch, how many that are in one are before
            it; ascending. Where there are `MAX_KEPT_PLACES` of them, the places of documents
            behind the last are not known.
    """

    def place(number: int) -> int | None:
        before = bisect_right(skipped_behind, number)
        return None if before >= MAX_KEPT_PLACES else number + before

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
                _failed(place(offset + index), known[index], detail) for index in range(count)
            )
        else:
            stored += result.stored
            duplicates += result.duplicates
            failed += (
                _failed(place(offset + one.index), one.id, one.detail) for one in result.failed
            )
        offset += count
    return {"stored": stored, "duplicates": duplicates, "failed": failed}


def _failed(index: int | None, id_: Any, detail: str) -> dict[str, Any]:
    where = {} if index is None else {"index": index}
    return {**where, "_id": id_, "detail": detail}


def _result(state: State) -> _Result | None:
    if state.state != "SUCCESS" or state.result is None:
        return None
    try:
        return _DECODER.decode(state.result)
    except msgspec.DecodeError:
        return None
