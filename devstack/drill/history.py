"""What history holds of every task that ended, against its record."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from pymongo import AsyncMongoClient

from devstack.drill.reconcile import Findings
from devstack.drill.records import Holdings

WITHIN_S = 60.0
"""How long history may take after the last end: MongoDB may have been away until then."""
_DATABASE = "penstock_history"
_AT_ONCE = 1_000


async def compare_history(url: str, holdings: Holdings, findings: Findings) -> None:
    """Wait until history has the end of every task, and note those of which it has not.

    Args:
        url: of MongoDB.
        holdings: the records.
        findings: gets the faults.
    """
    ends = {task_id: one.state for task_id, one in holdings.records.items() if one.final}
    deadline = time.monotonic() + WITHIN_S
    client: AsyncMongoClient[Any] = AsyncMongoClient(url)
    async with client:
        while True:
            found = await _states(client[_DATABASE]["tasks"], list(ends))
            wrong = [one for one, state in ends.items() if _kept(found, one) != (state, state)]
            if not wrong or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        gaps = client[_DATABASE]["gaps"]
        # The first stands for the time before there was a history.
        findings.counts["history gaps"] = await gaps.count_documents({}) - 1
    findings.counts["tasks in history"] = len(found)
    for task_id in wrong:
        findings.fault("history wrong", (task_id, ends[task_id], found.get(task_id)))


async def _states(tasks: Any, ids: list[str]) -> Mapping[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for first in range(0, len(ids), _AT_ONCE):
        wanted = {"_id": {"$in": ids[first : first + _AT_ONCE]}}
        async for one in tasks.find(wanted, {"state": 1, "changes.state": 1}):
            found[one["_id"]] = one
    return found


def _kept(found: Mapping[str, Mapping[str, Any]], task_id: str) -> tuple[Any, Any]:
    """The state of a task, and that of its last change."""
    task = found.get(task_id) or {}
    changes = task.get("changes") or [{}]
    return task.get("state"), changes[-1].get("state")
