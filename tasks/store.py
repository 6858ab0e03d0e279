"""Every read and write of MongoDB, idempotent by `_id`.

Motor lives in this file alone: it is past its end of life, and moving to PyMongo's own asynchronous
client must stay a change of one file. PyMongo's exceptions stop here too.
"""

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from threading import Thread
from typing import Any
from weakref import WeakValueDictionary

from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, InvalidName, OperationFailure, PyMongoError
from pymongo.topology_description import TopologyDescription
from pymongo.uri_parser import parse_uri

from penstock.wire import tls
from penstock.worker import tracing
from penstock.worker.errors import PermanentError, RetryableError
from tasks.availability import Availability
from tasks.encoding import Failed, encode, failed_of, text_of
from tasks.refusals import OF_ONE_DOCUMENT, OF_THE_COLLECTION, sort_write_errors, to_each
from tasks.sharing import PATIENCE_S, Answer, Batch, Inserted, Sharing

DEFAULT_DATABASE = "penstock"
"""The database when the URL names none."""

_TIMEOUTS: Mapping[str, Any] = {
    "serverselectiontimeoutms": 5_000,
    "connecttimeoutms": 5_000,
    "sockettimeoutms": 30_000,
    "heartbeatfrequencyms": 2_000,
}
"""Defaults that the options of the URL override. Five seconds ride out a restart of mongod without
the broker moving the batch; a longer outage is waited for in the delay levels. The heartbeats, on a
connection of PyMongo's own, are what finds MongoDB back."""

_MAJORITY_MS = 5_000
"""How long a primary may wait for a majority (`wtimeout`). It keeps the documents, and the batch
finds them when it comes again."""

_ENCODED_AT_ONCE = 500
"""Documents: some milliseconds of small ones, with their check."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreOutcome:
    """What became of one batch. `stored + len(failed)` is its size."""

    stored: int
    """Documents of this batch that are in the collection now, journaled."""

    duplicates: int
    """Those of `stored` whose `_id` was there already, by an earlier request or delivery."""

    failed: tuple[Failed, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the result of `documents.store` as the gateway reads it."""
        return {
            "stored": self.stored,
            "duplicates": self.duplicates,
            "failed": [
                {"index": one.index, "_id": one.document_id, "detail": one.detail}
                for one in self.failed
            ],
        }


class Store:
    """The database of one worker process.

    The client is made at the first use, for the running loop of the running process: its threads
    and sockets do not survive a fork, and a worker that never stores connects to nothing.

    A MongoDB that is away or does not answer is waited for once. After that everything is refused
    at once until it is back (`availability.py`): each wait holds a slot of the pool, which the
    tasks of other queues need.

    Args:
        url: of MongoDB.
        patience_s: how long a batch waits for an answer to an insert that it shares, and for its
            turn; seconds.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        parsed = parse_uri(url)
        self._url = url
        in_url = {name.lower() for name in parsed["options"]}
        self._options = {name: value for name, value in _TIMEOUTS.items() if name not in in_url}
        self._database = parsed["database"] or DEFAULT_DATABASE
        self._client: AsyncIOMotorClient[Any] | None = None
        self._made_for: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._patience_s = patience_s
        self._certificates = tls.Files(tls.parameters(url))
        self._availability = Availability()
        self._sharings: WeakValueDictionary[str, Sharing] = WeakValueDictionary()
        """Those of the client's loop, by collection, as long as something is under way."""

    def __repr__(self) -> str:
        """Name the database and whether it is in use, never the credentials of the URL."""
        return f"<Store {self._database} {'open' if self._client else 'idle'}>"

    async def insert_documents(
        self,
        collection: str,
        documents: Sequence[Mapping[str, Any]],
        *,
        find_fault: Callable[[Any], str | None] | None = None,
    ) -> StoreOutcome:
        """Store a batch, journaled and unordered; one bad document costs no other.

        Small batches for one collection that come together share one insert (`sharing.py`); each
        is told what became of its own documents.

        Safe to repeat: a document whose `_id` exists already stays as it was first written.

        Args:
            collection: name of a collection of the database; made when it does not exist.
            documents: each with its own `_id`, or repeating stores it again.
            find_fault: says why a document may not be stored; None: BSON and MongoDB decide alone.

        Raises:
            RetryableError: MongoDB is away or did not acknowledge; part may be stored. Repeat.
            PermanentError: no collection can have this name.
        """
        with self._admitted():
            encoded: list[tuple[int, RawBSONDocument]] = []
            failed: list[Failed] = []
            for first in range(0, len(documents), _ENCODED_AT_ONCE):
                if first:
                    await asyncio.sleep(0)  # the loop has other tasks
                part = documents[first : first + _ENCODED_AT_ONCE]
                good, bad = encode(part, find_fault, first)
                encoded += good
                failed += bad
            inserted = Inserted()
            if encoded:
                with self._span(collection, "insert"):
                    inserted = await self._sharing(collection).insert(encoded)
            else:
                self._target(collection)
        failed += inserted.failed
        return StoreOutcome(
            stored=len(documents) - len(failed),
            duplicates=inserted.duplicates,
            failed=tuple(sorted(failed, key=lambda one: one.index)),
        )

    async def count_up(
        self,
        collection: str,
        document_id: str,
        fields: Mapping[str, Any],
    ) -> int:
        """Set `fields` of one document, made when absent, and add one to its `count`.

        Returns:
            The new count.

        Raises:
            RetryableError: MongoDB is away or did not acknowledge.
        """
        with (
            self._admitted(),
            self._collection(collection) as target,
            self._span(collection, "findAndModify"),
        ):
            try:
                document = await target.find_one_and_update(
                    {"_id": document_id},
                    {"$set": dict(fields), "$inc": {"count": 1}},
                    upsert=True,
                    return_document=True,
                )
            except PyMongoError as error:
                raise RetryableError(f"MongoDB: {text_of(error)}") from error
            return int(document["count"])

    def _span(self, collection: str, operation: str) -> AbstractContextManager[None]:
        """Be a span of the trace that the caller is part of, if there is one."""
        if not tracing.is_on():
            return nullcontext()
        attributes = {
            "db.system.name": "mongodb",
            "db.namespace": self._database,
            "db.collection.name": collection,
            "db.operation.name": operation,
        }
        return tracing.client_span(f"{operation} {collection}", attributes)

    def _sharing(self, collection: str) -> Sharing:
        self._client_of_this_loop()  # or they are those of another loop
        sharing = self._sharings.get(collection)
        if sharing is None:
            sharing = Sharing(partial(self._insert, collection), self._late, self._patience_s)
            self._sharings[collection] = sharing
        return sharing

    async def _insert(self, collection: str, batches: Sequence[Batch]) -> Sequence[Answer]:
        """Insert batches of some tasks together; the answers are for each of them."""
        answers: Sequence[Answer] = ()
        try:
            with self._collection(collection) as target:
                answers = await _insert_together(target, batches)
                for failure in answers:
                    if isinstance(failure, RetryableError):
                        raise failure
        except (RetryableError, PermanentError) as error:
            return answers or to_each(error, batches)
        return answers

    def _late(self) -> RetryableError:
        """Take note that an insert is not answered in time; return what is said of it."""
        words = f"no answer for {self._patience_s:g} s"
        self._availability.failed(words, slow=True)
        return RetryableError(f"MongoDB: {words}")

    def _admitted(self) -> AbstractContextManager[None]:
        """Be around all that a task does; raises `RetryableError` while MongoDB is away."""
        return self._availability.admitted(writable=self._is_writable())

    def _is_writable(self) -> bool:
        """Tell whether PyMongo knows a server that takes writes."""
        # Motor's stub takes the property for a method.
        seen: TopologyDescription = self._client_of_this_loop().topology_description  # type: ignore[assignment]
        return seen.has_writable_server()

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        client, self._client, self._made_for = self._client, None, None
        if client is not None:
            client.close()

    @contextmanager
    def _collection(self, name: str) -> Iterator[AsyncIOMotorCollection[Any]]:
        """Lend a collection for one operation, and remember whether it worked.

        Raises:
            RetryableError: MongoDB is still away.
            PermanentError: no collection can have this name.
        """
        target = self._target(name)
        with self._availability.asking(writable=self._is_writable()):
            yield target

    def _target(self, name: str) -> AsyncIOMotorCollection[Any]:
        try:
            return self._client_of_this_loop()[self._database].get_collection(
                name,
                write_concern=WriteConcern(w="majority", j=True, wtimeout=_MAJORITY_MS),
            )
        except InvalidName as error:
            raise PermanentError(f"collection {name[:80]!r}: {text_of(error)}") from error

    def _client_of_this_loop(self) -> AsyncIOMotorClient[Any]:
        made_for = (os.getpid(), asyncio.get_running_loop())
        if self._certificates.replaced() and self._client is not None:
            if self._made_for is not None and self._made_for[0] == made_for[0]:
                # Its farewell waits for a server that it does not trust any more.
                Thread(target=self._client.close, daemon=True).start()
            self._client = self._made_for = None
        if self._client is None or self._made_for != made_for:
            if self._made_for is not None and self._made_for[0] == made_for[0]:
                self.close()  # a client from before the fork is the parent's to close
            self._client = None
            try:
                self._client = AsyncIOMotorClient(
                    self._url, io_loop=made_for[1], appname="penstock", **self._options
                )
            except (PyMongoError, OSError) as error:  # its certificate and key are being replaced
                raise RetryableError(f"MongoDB: {text_of(error)}") from error
            self._made_for = made_for
            self._availability = Availability()
            self._sharings = WeakValueDictionary()
        return self._client


async def _insert_together(
    target: AsyncIOMotorCollection[Any], batches: Sequence[Batch]
) -> Sequence[Answer]:
    """Insert batches with one command; the answers are for each of them.

    A command that MongoDB refuses because of one document in it is halved, until that document is
    alone: between batches first.
    """
    documents = [document for batch in batches for _, document in batch]
    try:
        await target.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        return sort_write_errors(error, batches)
    except OperationFailure as error:
        if error.code in OF_THE_COLLECTION:
            text = f"collection {target.name[:80]!r}: {text_of(error)}"
            return to_each(PermanentError(text), batches)
        if error.code in OF_ONE_DOCUMENT:
            return await _insert_halves(target, batches, text_of(error))
        # Among these are wrong credentials and missing rights: an operator mends them, and
        # documents that were accepted wait for it.
        return to_each(RetryableError(f"MongoDB: {text_of(error)}"), batches)
    except PyMongoError as error:
        return to_each(RetryableError(f"MongoDB: {text_of(error)}"), batches)
    return [Inserted()] * len(batches)


async def _insert_halves(
    target: AsyncIOMotorCollection[Any], batches: Sequence[Batch], detail: str
) -> Sequence[Answer]:
    """Insert what was refused because of one document, by halves; a failure ends that."""
    [batch, *others] = batches
    if others:
        half = len(batches) // 2
        first = await _insert_together(target, batches[:half])
        failure = next((one for one in first if isinstance(one, Exception)), None)
        if failure is not None:
            return [*first, *to_each(failure, batches[half:])]
        return [*first, *await _insert_together(target, batches[half:])]
    if len(batch) == 1:
        [(index, document)] = batch
        return [Inserted(failed=(failed_of(index, document, detail),))]
    half = len(batch) // 2
    both = []
    for part in (batch[:half], batch[half:]):
        [answer] = await _insert_together(target, [part])
        if not isinstance(answer, Inserted):
            return [answer]
        both.append(answer)
    first_half, second_half = both
    duplicates = first_half.duplicates + second_half.duplicates
    return [Inserted(duplicates, first_half.failed + second_half.failed)]
