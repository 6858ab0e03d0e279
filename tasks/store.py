"""Every read and write of MongoDB, idempotent by `_id`.

Motor lives in this file alone: it is past its end of life, and moving to PyMongo's own asynchronous
client must stay a change of one file. PyMongo's exceptions stop here too.
"""

import asyncio
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import bson
import orjson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, InvalidName, OperationFailure, PyMongoError
from pymongo.topology_description import TopologyDescription
from pymongo.uri_parser import parse_uri

from penstock.worker.errors import PermanentError, RetryableError
from tasks.batch_salvage import UNREADABLE

MAX_BSON_BYTES = 16 * 1024 * 1024
"""MongoDB's limit of one document (`maxBsonObjectSize` of the server's `hello`)."""

MAX_DETAIL_CHARS = 300
"""PyMongo's messages can quote the whole document; a result names the fault only."""

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

_DUPLICATE_KEY = 11000
_INVALID_NAMESPACE = 73

_ONE_DOCUMENT_TO_BLAME = frozenset({2, 9, 14, 15, 22, 10334})
"""Codes with which mongod refuses a whole command because of one document in it: BadValue,
FailedToParse, TypeMismatch, Overflow (over 200 levels), InvalidBSON, BSONObjectTooLarge."""

_PASSING = frozenset(
    {6, 7, 89, 91, 112, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436, 14031},
)
"""Codes that a single write can carry although nothing is wrong with its document: host away,
shutting down, stepping down, write conflict, disk full. The batch is tried again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One document that MongoDB can never store."""

    index: int
    """Position in the batch, from 0."""

    document_id: Any
    """Its `_id`, as text where JSON cannot say it; None when it has none."""

    detail: str
    """Why, at most 300 characters."""


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

    A MongoDB that is away is waited for once. After that everything is refused at once until
    PyMongo's heartbeats see a server again: each wait holds a slot of the pool, which the tasks
    of other queues need.
    """

    def __init__(self, url: str) -> None:
        parsed = parse_uri(url)
        self._url = url
        in_url = {name.lower() for name in parsed["options"]}
        self._options = {name: value for name, value in _TIMEOUTS.items() if name not in in_url}
        self._database = parsed["database"] or DEFAULT_DATABASE
        self._client: AsyncIOMotorClient[Any] | None = None
        self._made_for: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._last_failed = False

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
        """Store a batch with one journaled, unordered insert; one bad document costs no other.

        Safe to repeat: a document whose `_id` exists already stays as it was first written.

        Args:
            collection: name of a collection of the database; made when it does not exist.
            documents: each with its own `_id`, or repeating stores it again.
            find_fault: says why a document may not be stored; None: BSON and MongoDB decide alone.

        Raises:
            RetryableError: MongoDB is away or did not acknowledge; part may be stored. Repeat.
            PermanentError: no collection can have this name.
        """
        encoded, failed = encode(documents, find_fault)
        duplicates = 0
        with self._collection(collection) as target:
            if encoded:
                duplicates = await _insert(target, encoded, failed)
        return StoreOutcome(
            stored=len(documents) - len(failed),
            duplicates=duplicates,
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
        with self._collection(collection) as target:
            try:
                document = await target.find_one_and_update(
                    {"_id": document_id},
                    {"$set": dict(fields), "$inc": {"count": 1}},
                    upsert=True,
                    return_document=True,
                )
            except PyMongoError as error:
                raise RetryableError(f"MongoDB: {_text(error)}") from error
            return int(document["count"])

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
        client = self._client_of_this_loop()
        # Motor's stub takes the property for a method.
        seen: TopologyDescription = client.topology_description  # type: ignore[assignment]
        if self._last_failed and not seen.has_writable_server():
            raise RetryableError("MongoDB: still away")
        try:
            target = client[self._database].get_collection(
                name,
                write_concern=WriteConcern(w="majority", j=True),
            )
        except InvalidName as error:
            raise PermanentError(f"collection {name[:80]!r}: {_text(error)}") from error
        try:
            yield target
        except RetryableError:
            self._last_failed = True
            raise
        self._last_failed = False

    def _client_of_this_loop(self) -> AsyncIOMotorClient[Any]:
        made_for = (os.getpid(), asyncio.get_running_loop())
        if self._client is None or self._made_for != made_for:
            if self._made_for is not None and self._made_for[0] == made_for[0]:
                self.close()  # a client from before the fork is the parent's to close
            self._client = AsyncIOMotorClient(
                self._url, io_loop=made_for[1], appname="penstock", **self._options
            )
            self._made_for = made_for
            self._last_failed = False
        return self._client


def encode(
    documents: Sequence[Mapping[str, Any]],
    find_fault: Callable[[Any], str | None] | None = None,
) -> tuple[list[tuple[int, RawBSONDocument]], list[Failed]]:
    """Encode each document once, by itself.

    `insert_many` encodes while it writes, and the first integer over 64 bits, lone surrogate or
    document over 16 MiB ends it with nothing stored.

    Returns:
        The good ones with their index in the batch, and the others.
    """
    good: list[tuple[int, RawBSONDocument]] = []
    failed: list[Failed] = []
    for index, document in enumerate(documents):
        fault = find_fault(document) if find_fault is not None else None
        if fault is not None:
            failed.append(_failed(index, document, _clean(fault)))
            continue
        try:
            # RawBSONDocument is sent as it is, and PyMongo adds no `_id` to it: mongod does.
            raw = bson.encode(document)
        except (BSONError, OverflowError, RecursionError, TypeError, ValueError) as error:
            failed.append(_failed(index, document, _text(error)))
            continue
        if len(raw) > MAX_BSON_BYTES:
            detail = f"{len(raw)} bytes of BSON; MongoDB's limit is {MAX_BSON_BYTES}"
            failed.append(_failed(index, document, detail))
        else:
            good.append((index, RawBSONDocument(raw)))
    return good, failed


async def _insert(
    target: AsyncIOMotorCollection[Any],
    batch: Sequence[tuple[int, RawBSONDocument]],
    failed: list[Failed],
) -> int:
    """Insert, add what MongoDB refuses to `failed`, and return how many were there already."""
    try:
        await target.insert_many([document for _, document in batch], ordered=False)
    except BulkWriteError as error:
        return _sort_write_errors(error, batch, failed)
    except OperationFailure as error:
        if error.code == _INVALID_NAMESPACE:
            raise PermanentError(f"collection {target.name[:80]!r}: {_text(error)}") from error
        if error.code not in _ONE_DOCUMENT_TO_BLAME:
            # Among these are wrong credentials and missing rights: an operator mends them, and
            # documents that were accepted wait for it.
            raise RetryableError(f"MongoDB: {_text(error)}") from error
        if len(batch) == 1:
            index, document = batch[0]
            failed.append(_failed(index, document, _text(error)))
            return 0
        half = len(batch) // 2
        first = await _insert(target, batch[:half], failed)
        return first + await _insert(target, batch[half:], failed)
    except PyMongoError as error:
        raise RetryableError(f"MongoDB: {_text(error)}") from error
    return 0


def _sort_write_errors(
    error: BulkWriteError,
    batch: Sequence[tuple[int, RawBSONDocument]],
    failed: list[Failed],
) -> int:
    details = error.details or {}
    write_errors = details.get("writeErrors", [])
    passing = [one for one in write_errors if one["code"] in _PASSING]
    unacknowledged = [*passing, *details.get("writeConcernErrors", [])]
    if unacknowledged:
        raise RetryableError(f"MongoDB: {_clean(unacknowledged[0]['errmsg'])}") from error
    duplicates = 0
    for one in write_errors:
        if one["code"] == _DUPLICATE_KEY and _is_primary_key(one):
            duplicates += 1
            continue
        index, document = batch[one["index"]]
        failed.append(_failed(index, document, _clean(one["errmsg"])))
    return duplicates


def _is_primary_key(write_error: Mapping[str, Any]) -> bool:
    """Tell a repeated document from one that a unique index of the operator's refuses."""
    pattern = write_error.get("keyPattern")
    if pattern is None:  # before MongoDB 4.4
        return " index: _id_ " in write_error["errmsg"]
    return dict(pattern) == {"_id": 1}


def _failed(index: int, document: Any, detail: str) -> Failed:
    if isinstance(document, list) and document[:1] == [UNREADABLE]:
        return _unreadable(index, document)
    document_id = document.get("_id") if isinstance(document, Mapping) else None
    return Failed(index=index, document_id=_told_id(document_id), detail=detail)


def _unreadable(index: int, stand_in: Sequence[Any]) -> Failed:
    """Tell of a document that could not be decoded: `tasks.batch_salvage`."""
    _, reason, written = (*stand_in, "", None)[:3]
    try:
        document_id = json.loads(str(written or "null"))
    except ValueError:
        document_id = None
    detail = _clean(f"the document cannot be decoded: {reason}")
    return Failed(index=index, document_id=_told_id(document_id), detail=detail)


def _told_id(document_id: Any) -> Any:
    """Return an `_id` as it was sent; what JSON cannot say, or says at length, as text."""
    if isinstance(document_id, str):
        return _clean(document_id)
    try:
        written = orjson.dumps(document_id)
        fits = len(written) <= MAX_DETAIL_CHARS and orjson.loads(written) == document_id
    except TypeError:
        fits = False
    return document_id if fits else _clean(str(document_id))


def _text(error: Exception) -> str:
    return _clean(str(error) or type(error).__name__)


def _clean(text: str) -> str:
    """Cut, and drop lone surrogates: the result must be UTF-8 for whoever reads it."""
    return text[:MAX_DETAIL_CHARS].encode(errors="backslashreplace").decode()
