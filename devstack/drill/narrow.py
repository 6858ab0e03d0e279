"""A queue at the limit of the broker, while others have delayed tasks."""

import asyncio
import signal
import time

import aio_pika
from aiormq.exceptions import DeliveryError

from devstack.drill.direct import task_message
from devstack.drill.load import SubmitLoad
from devstack.drill.receipts import Ledger
from devstack.drill.rig import NARROW_LIMIT, Rig

QUEUE = "narrow"
WORKER = "worker-narrow"
LATE = 40
"""Delayed tasks that come due in the full queue: more than a delay level hands on at once (32)."""
WITNESS_QUEUE = "scripts"
"""Idle otherwise: what starts late there was held up by the delay levels."""
_MOST = 20 * NARROW_LIMIT
_HELD_S = 12.0


async def fill_narrow(rig: Rig, ledger: Ledger, load: SubmitLoad) -> None:
    """Stop the queue's worker, fill it, let delayed tasks come due in it and in others.

    The worker is stopped for less than the heartbeat allows; it is the slow one, not the dead one.
    """
    worker = rig.parts[WORKER].child
    await asyncio.gather(*(load.submit("narrow", queue=QUEUE, countdown=5) for _ in range(LATE)))
    worker.signal(signal.SIGSTOP)
    try:
        await _fill(rig, ledger)
        witnesses = [
            load.submit("witness", queue=WITNESS_QUEUE, countdown=delay_s)
            for delay_s in (4, 5, 6, 7)
        ]
        await asyncio.gather(*witnesses)
        await asyncio.sleep(_HELD_S)
    finally:
        worker.signal(signal.SIGCONT)


async def _fill(rig: Rig, ledger: Ledger) -> None:
    """Publish until the broker refuses."""
    async with await aio_pika.connect(rig.stack.rabbit.url) as connection:
        channel = await connection.channel()
        for _ in range(_MOST):
            receipt = ledger.task("direct")
            message = task_message("drill.tally", [receipt.number])
            receipt.ids.add(str(message.message_id))
            try:
                await channel.default_exchange.publish(message, QUEUE)
            except DeliveryError:
                receipt.decide("refused", 0)
                return
            receipt.decide("accepted", 0)
            receipt.decided_at = time.time()
