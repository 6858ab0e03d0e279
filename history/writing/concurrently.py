"""Several pieces of one piece of work at a time, all of them or none: one error ends the rest.

No `asyncio.TaskGroup`: that of Python 3.11 leaves the task that awaits it marked as cancelled when
one of the group fails, which ends a `Looper`.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def concurrently(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await all.

    Raises:
        BaseException: the first error of any, as it was raised; none of the rest goes on.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
            raise end
