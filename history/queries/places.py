"""Places in a list of tasks, newest first: `[at, _id]` of the last one that was given. Pure."""

from collections.abc import Mapping
from typing import Any

from history.queries.filters import millis, moment

NEWEST_FIRST = [("at", -1), ("_id", -1)]


def place_of(task: Mapping[str, Any]) -> list[Any]:
    """Return the place behind a task."""
    return [millis(task["at"]), task["_id"]]


def behind(filter_: Mapping[str, Any], place: Any) -> dict[str, Any]:
    """Return a filter that continues behind a place.

    Raises:
        ValueError: It is no place.
    """
    match place:
        case [int(at_ms), str(task_id)] if at_ms >= 0:
            at = moment(at_ms)
        case _:
            raise ValueError("the place is none")
    bounds = dict(filter_.get("at", {}))
    bounds["$lte"] = at
    further = [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": task_id}}]
    return {**filter_, "at": bounds, "$or": further}
