"""Whether every slot of every worker is back: as many tasks meet as there are slots."""

from pathlib import Path

import aio_pika

from devstack.drill.direct import task_message
from devstack.drill.meeting import MEET_WITHIN_S, came
from devstack.drill.reconcile import Findings
from devstack.drill.records import read_records, wait_until_ended
from devstack.drill.rig import Rig


async def find_lost_slots(rig: Rig, folder: Path, findings: Findings) -> None:
    """Have as many tasks meet as the workers of each queue have slots, all at a time.

    Args:
        rig: The stack, at rest.
        folder: Where they meet.
        findings: Gets a fault for each slot that takes no task.
    """
    ids: dict[str, list[str]] = {}
    async with await aio_pika.connect(rig.stack.rabbit.url) as connection:
        channel = await connection.channel()
        for queue, slots in rig.slots.items():
            place = folder / f"meeting-{queue}"
            place.mkdir()
            messages = [task_message("drill.meet", [str(place), slots]) for _ in range(slots)]
            ids[queue] = [str(one.message_id) for one in messages]
            for message in messages:
                await channel.default_exchange.publish(message, queue)
    url = rig.stack.redis.url
    await wait_until_ended(url, [one for some in ids.values() for one in some], 2 * MEET_WITHIN_S)
    for queue, some in ids.items():
        records = await read_records(url, some)
        met = sum(record.state == "SUCCESS" for record in records.values())
        guests = came(folder / f"meeting-{queue}")
        findings.counts["slots"] += len(some)
        findings.counts["slots that took a task at the end"] += guests
        if met < len(some):
            findings.fault("slot lost", (queue, guests, records), max(1, len(some) - guests))
