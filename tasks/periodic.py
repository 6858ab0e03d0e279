"""The shipped periodic task: proof that beat, RabbitMQ, a worker and MongoDB work together."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from celery.schedules import crontab, schedule

from tasks.resources import Context

COLLECTION = "penstock.periodic"
"""Its dot keeps it apart from every collection that ingest accepts."""


SHIPPED: Mapping[str, Mapping[str, Any]] = {
    "heartbeat": {
        "task": "periodic.heartbeat",
        "schedule": schedule(dt.timedelta(seconds=10)),
    },
    "script-heartbeat": {
        "task": "scripts.run",
        "schedule": crontab(),
        "args": ["heartbeat.sh"],
    },
}
"""What a new deployment starts with. The first is promised to fire at least every 15 s."""


async def heartbeat(context: Context) -> int:
    """Count up the heartbeat document in MongoDB and return the new count."""
    return await context.resources.store.count_up(
        COLLECTION,
        context.task_name,
        {"at": dt.datetime.now(tz=dt.UTC), "task_id": context.task_id},
    )
