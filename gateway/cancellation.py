"""Stopping tasks that sit in client libraries which turn a cancellation into an error.

aiormq and redis-py do so while they connect: their caller sees an ordinary failure, tries again,
and would run for ever. Nor does a CancelledError mean that we are told to stop: aiormq cancels
what waits on a connection that it loses.
"""

import asyncio

_AGAIN_S = 0.25


def told_to_stop() -> bool:
    """Whether somebody cancelled the current task, whatever was raised."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def stop(*tasks: "asyncio.Task[None]") -> None:
    """Cancel tasks, again and again until they have ended, and take their outcomes."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
