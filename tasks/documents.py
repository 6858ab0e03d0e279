"""The tasks on documents: batches from the gateway's ingest, or from anybody's `.delay()`."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from penstock.wire.document_rules import (
    MAX_DOCUMENT_BYTES,
    collection_fault,
    document_fault,
    is_system_collection,
)
from penstock.wire.headers import CHECKED_HEADER
from penstock.worker import document_troubles, tally
from penstock.worker.errors import PermanentError, RetryableError
from tasks.refusals import RefusedForNowError
from tasks.resources import Context


async def store(
    context: Context,
    collection: str,
    documents: list[dict[str, Any]],
) -> dict[str, Any]:
    """Store a batch of documents in MongoDB, each once however often the batch is delivered.

    While MongoDB is away the batch goes back to the broker's delay levels, without a limit of
    attempts (`max_retries=None` in the registry): a copy that waits in this process would hold a
    worker's slot, run into its time limit and RabbitMQ's `consumer_timeout` of 30 minutes, and
    use up the delivery limit, all of which end in a dead letter. The delayed message is a new one
    to the broker, so an outage of any length costs nothing.

    A batch that the gateway has checked says so in a header that its clients cannot set. Any other
    is checked here, by the same rules: a bad document fails alone, a bad collection the batch.

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
        PermanentError: documents may not go to a collection of this name, or are no list.
    """
    find_fault: Callable[[Any], str | None] | None = None
    if context.headers.get(CHECKED_HEADER) is not True:
        fault = collection_fault(collection, re.compile(context.resources.collection_pattern))
        if fault is not None:
            raise PermanentError(f"collection {str(collection)[:80]!r}: {fault}")
        if not isinstance(documents, list | tuple):
            raise PermanentError("documents: expected a list of documents")
        find_fault = unchecked_fault
    elif is_system_collection(collection):
        raise PermanentError(f"collection {collection[:80]!r}: it is MongoDB's own")
    batch = with_ids(context.task_id, documents)
    try:
        outcome = await context.resources.store.insert_documents(
            collection, batch, find_fault=find_fault
        )
    except RetryableError as error:
        lasting = isinstance(error, RefusedForNowError)
        document_troubles.waits(collection, str(error), context.task_id, lasting=lasting)
        raise
    document_troubles.stored(collection)
    tally.documents("stored", outcome.stored - outcome.duplicates)
    tally.documents("duplicate", outcome.duplicates)
    if outcome.failed:
        number, reason = len(outcome.failed), outcome.failed[0].detail
        tally.documents("failed", number)
        document_troubles.refused(collection, number, reason, context.task_id)
    return outcome.as_json()


def unchecked_fault(document: Any) -> str | None:
    """Return why a document that nobody has checked may not be stored; None when it may."""
    fault = document_fault(document)
    if fault is not None:
        return f"{fault.at}: {fault.detail}"
    try:
        size = len(orjson.dumps(document, default=str))
    except orjson.JSONEncodeError:
        return None  # of Python's types, which BSON knows better
    if size > MAX_DOCUMENT_BYTES:
        return f"$: the document is over {MAX_DOCUMENT_BYTES} bytes of JSON"
    return None


def with_ids(task_id: str, documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each document that has no `_id` the one that it gets in every delivery of the task."""
    return [
        {"_id": f"{task_id}-{index}", **document}
        if isinstance(document, dict) and "_id" not in document
        else document
        for index, document in enumerate(documents)
    ]
