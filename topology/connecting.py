"""One piece of work on whichever host of a cluster answers."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import aio_pika
from aio_pika.abc import AbstractConnection

from penstock.wire.hosts import shuffled

CONNECT_TIMEOUT_S = 10.0

Answer = TypeVar("Answer")


async def on_any_host(url: str, work: Callable[[AbstractConnection], Awaitable[Answer]]) -> Answer:
    """Connect to one host after the other until the work was done on one.

    Args:
        url: of all of them.
        work: may be begun again on the next host, when the connection is lost or does not answer.

    Raises:
        OSError: the last host cannot be reached, does not answer or lost the connection; what the
            work raises otherwise is raised as it is.
    """
    *first, last = shuffled(url)
    for host in first:
        try:
            return await _on(host, work)
        except (OSError, TimeoutError):
            continue
    return await _on(last, work)


async def _on(host: str, work: Callable[[AbstractConnection], Awaitable[Answer]]) -> Answer:
    async with await aio_pika.connect(host, timeout=CONNECT_TIMEOUT_S) as connection:
        return await work(connection)
