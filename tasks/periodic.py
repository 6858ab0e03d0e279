"""The shipped periodic task: proof that beat, RabbitMQ, a worker and MongoDB work together."""

import datetime as dt

from penstock.worker.running.runtime import TaskContext

COLLECTION = "penstock.periodic"
"""Its dot keeps it apart from every collection that ingest accepts."""


async def heartbeat(context: TaskContext) -> int:
    """Count up the heartbeat document in MongoDB and return the new count."""
    return await context.store.count_up(
        COLLECTION,
        context.task_name,
        {"at": dt.datetime.now(tz=dt.UTC), "task_id": context.task_id},
    )
