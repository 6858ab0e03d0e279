"""The tasks on documents: batches from the gateway's ingest, or from anybody's `.delay()`."""

from collections.abc import Sequence
from typing import Any

from tasks.runtime import TaskContext


async def store(
    context: TaskContext,
    collection: str,
    documents: list[dict[str, Any]],
) -> dict[str, Any]:
    """Store a batch of documents in MongoDB, each once however often the batch is delivered.

    While MongoDB is away the batch goes back to the broker's delay levels, without a limit of
    attempts (`max_retries=None` in the registry): a copy that waits in this process would hold a
    worker's slot, run into its time limit and RabbitMQ's `consumer_timeout` of 30 minutes, and
    use up the delivery limit, all of which end in a dead letter. The delayed message is a new one
    to the broker, so an outage of any length costs nothing.

    Args:
        context: of this execution.
        collection: name of the collection.
        documents: at most 16 MiB of BSON each. One without `_id` gets one made from the task id
            and its position, so that a second delivery of the batch finds it.

    Returns:
        `{"stored", "duplicates", "failed": [{"index", "_id", "detail"}]}`: `stored` counts
        documents of this batch present afterwards, `duplicates` those that were there already.

    Raises:
        RetryableError: MongoDB is away.
        PermanentError: no collection can have this name.
    """
    batch = with_ids(context.task_id, documents)
    outcome = await context.store.insert_documents(collection, batch)
    return outcome.as_json()


def with_ids(task_id: str, documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each document that has no `_id` the one that it gets in every delivery of the task."""
    return [
        {"_id": f"{task_id}-{index}", **document}
        if isinstance(document, dict) and "_id" not in document
        else document
        for index, document in enumerate(documents)
    ]
