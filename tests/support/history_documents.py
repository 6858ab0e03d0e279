"""Documents of history as its writer makes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from history.grouping import failure_id
from history.writing.words import words_of

NOW = datetime.now(UTC).replace(microsecond=0)


def document(task_id: str, **members: Any) -> dict[str, Any]:
    """Return the document of a task; times and words follow from the rest."""
    found: dict[str, Any] = {
        "_id": task_id,
        "task": "demo.add",
        "tenant": "anonymous",
        "state": "SUCCESS",
        "queue": "default",
        "worker": "celery@w1",
        "root": task_id,
        "at": NOW,
        "source": "penstock",
        "changes": [],
        **members,
    }
    found.setdefault("accepted_at", found["at"])
    error, request = found.get("error") or {}, found.get("request") or {}
    if found["state"] in {"SUCCESS", "FAILURE", "REVOKED"}:
        found.setdefault("ended_at", found["at"] + timedelta(seconds=1))
    if found["state"] == "FAILURE" and error:
        found.setdefault(
            "failure",
            failure_id(found["task"], error["type"], error["message"], error.get("traceback")),
        )
    texts = (
        found["task"], error.get("type", ""), error.get("message", ""),
        request.get("args", ""), request.get("kwargs", ""),
    )  # fmt: skip
    found["words"] = words_of(texts)
    return found


def failed(task_id: str, args: str, **members: Any) -> dict[str, Any]:
    """Return the document of a task that failed, with its request."""
    return document(
        task_id,
        **{
            "state": "FAILURE",
            "error": {"type": "RuntimeError", "message": "no luck", "traceback": "Traceback …"},
            "request": {
                "args": args, "kwargs": "{}", "embed": "", "options": {"queue": "default"},
            },
            **members,
        },
    )  # fmt: skip


def counted(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the counts of failures that the writer would have made of documents."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in documents:
        if one["state"] != "FAILURE":
            continue
        hour = one["ended_at"].replace(minute=0, second=0, microsecond=0)
        for whose in ({"tenant": one["tenant"]}, {"all": True}):
            row = found.setdefault(
                (one["failure"], *whose.items(), hour),
                {
                    "_id": {"failure": one["failure"], **whose, "hour": hour},
                    "task": one["task"],
                    "error": {name: one["error"][name] for name in ("type", "message")},
                    "count": 0,
                    "first_at": one["ended_at"],
                    "last_at": one["ended_at"],
                },
            )
            row["count"] += 1
            row["first_at"] = min(row["first_at"], one["ended_at"])
            if one["ended_at"] >= row["last_at"]:
                row["last_at"], row["example"] = one["ended_at"], one["_id"]
    return list(found.values())
