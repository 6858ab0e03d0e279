"""Tasks that only a drill's workers know: some write down what they do, some end oddly."""

import asyncio
import os
import secrets
import signal
import time
from typing import Any

from devstack.drill.endings import end, end_sync
from devstack.drill.meeting import meet
from penstock.worker.errors import RetryableError
from penstock.worker.running.context import TaskContext
from penstock.worker.running.spec import TaskSpec

RUNS = "drill_runs"
"""Collection with a document for each execution of `drill.tally`."""


async def tally(
    context: TaskContext[Any], number: int, seconds: float = 0, failures: int = 0
) -> int:
    """Write down this execution, take that long, fail that often, and return the number."""
    run = {
        "_id": secrets.token_hex(12),
        "task": context.task_id,
        "number": number,
        "retries": context.retries,
        "at": time.time(),
    }
    await context.resources.store.insert_documents(RUNS, [run])
    if seconds:
        await asyncio.sleep(seconds)
    if context.retries < failures:
        raise RetryableError("fails as asked", retry_in_s=1)
    return number


def crash(number: int) -> None:
    """Kill the process that executes this, each time."""
    del number
    os.kill(os.getpid(), signal.SIGKILL)


SPECS = (
    TaskSpec("drill.tally", tally, {"max_retries": None}),
    TaskSpec("drill.crash", crash),
    TaskSpec("drill.end", end),
    TaskSpec("drill.end_sync", end_sync),
    TaskSpec("drill.meet", meet),
)
