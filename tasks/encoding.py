"""Documents as BSON, each by itself, and what is said of one that cannot be stored."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bson
import orjson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from tasks.batch_salvage import UNREADABLE

MAX_BSON_BYTES = 16 * 1024 * 1024
"""MongoDB's limit of one document (`maxBsonObjectSize` of the server's `hello`)."""

MAX_DETAIL_CHARS = 300
"""PyMongo's messages can quote the whole document; a result names the fault only."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One document that MongoDB can never store."""

    index: int
    """Position in the batch, from 0."""

    document_id: Any
    """Its `_id`, as text where JSON cannot say it; None when it has none."""

    detail: str
    """Why, at most 300 characters."""


def encode(
    documents: Sequence[Mapping[str, Any]],
    find_fault: Callable[[Any], str | None] | None = None,
    first: int = 0,
) -> tuple[list[tuple[int, RawBSONDocument]], list[Failed]]:
    """Encode each document once, by itself.

    `insert_many` encodes while it writes, and the first integer over 64 bits, lone surrogate or
    document over 16 MiB ends it with nothing stored.

    Args:
        documents: a batch, or a part of it.
        find_fault: says why a document may not be stored; None: BSON decides alone.
        first: index in the batch of the first of them.

    Returns:
        The good ones with their index in the batch, and the others.
    """
    good: list[tuple[int, RawBSONDocument]] = []
    failed: list[Failed] = []
    for index, document in enumerate(documents, first):
        fault = find_fault(document) if find_fault is not None else None
        if fault is not None:
            failed.append(failed_of(index, document, clean(fault)))
            continue
        try:
            # RawBSONDocument is sent as it is, and PyMongo adds no `_id` to it: mongod does.
            raw = bson.encode(document)
        except (BSONError, OverflowError, RecursionError, TypeError, ValueError) as error:
            failed.append(failed_of(index, document, text_of(error)))
            continue
        if len(raw) > MAX_BSON_BYTES:
            detail = f"{len(raw)} bytes of BSON; MongoDB's limit is {MAX_BSON_BYTES}"
            failed.append(failed_of(index, document, detail))
        else:
            good.append((index, RawBSONDocument(raw)))
    return good, failed


def failed_of(index: int, document: Any, detail: str) -> Failed:
    """Return what is said of a document that cannot be stored."""
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
    detail = clean(f"the document cannot be decoded: {reason}")
    return Failed(index=index, document_id=_told_id(document_id), detail=detail)


def _told_id(document_id: Any) -> Any:
    """Return an `_id` as it was sent; what JSON cannot say, or says at length, as text."""
    if isinstance(document_id, str):
        return clean(document_id)
    try:
        written = orjson.dumps(document_id)
        fits = len(written) <= MAX_DETAIL_CHARS and orjson.loads(written) == document_id
    except TypeError:
        fits = False
    return document_id if fits else clean(str(document_id))


def text_of(error: Exception) -> str:
    """Return the message of an error without PyMongo's copy of the answer, or its name."""
    return clean(str(error).partition(", full error: ")[0] or type(error).__name__)


def clean(text: str) -> str:
    """Cut in the middle, and drop lone surrogates: the result must be UTF-8 for whoever reads it.

    Messages that quote a document say why before it or behind it.
    """
    if len(text) > MAX_DETAIL_CHARS:
        half = MAX_DETAIL_CHARS // 2
        text = f"{text[: half - 3]} … {text[-half:]}"
    return text.encode(errors="backslashreplace").decode()
