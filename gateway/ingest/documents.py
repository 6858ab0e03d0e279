"""Documents: each checked at about the cost of one parse, given its `_id`, kept as its raw JSON.

The usual document is parsed once by orjson, which refuses bad UTF-8, lone surrogates and numbers
over the range of a double. What it lets through (`$` keys, NUL in keys, integers outside 64 bits,
deep nesting) leaves traces in the bytes, which are looked for in many documents at once; only a
document that has one is read a second time, by `document_faults`. Pure.
"""

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import msgspec
import orjson

from gateway.ingest.document_faults import (
    BIG_INTEGER_DIGITS,
    MAX_DEPTH,
    MAX_INTEGER,
    DocumentFault,
    find_fault,
    too_big,
)
from gateway.ingest.document_ids import DocumentIds, SeededIds
from gateway.ingest.large_documents import find_large_fault
from gateway.ingest.ndjson import TOO_LONG

_SHORTEST_TOO_DEEP: Final = 2 * (MAX_DEPTH + 1)
_DIGITS: Final = bytes.maketrans(b"0123456789", b"0" * 10)
_DIGIT_RUN: Final = b"0" * BIG_INTEGER_DIGITS
_LONG_INTEGERS: Final = re.compile(rb"(?<![0-9.])[0-9]{%d,}(?![0-9.eE])" % BIG_INTEGER_DIGITS)
_DOLLAR_KEY: Final = re.compile(rb'"\$[^"\\]*(?:\\.[^"\\]*)*"[ \t\r\n]*:', re.DOTALL)
_BIGGEST: Final = str(MAX_INTEGER).encode()
_BRACE: Final = ord("{")
_WHITESPACE: Final = b" \t\r\n"


@dataclass(slots=True)
class Rejected:
    """One document that may not be stored."""

    line: int
    """Its line, or its position in the array; from 1."""
    fault: DocumentFault


@dataclass(slots=True)
class Checked:
    """What one slice of a body became."""

    documents: list[bytes] = field(default_factory=list)
    """The raw JSON of the good ones, each with its `_id`."""
    ids: list[bytes] = field(default_factory=list)
    """The JSON of their `_id`s."""
    rejected: list[Rejected] = field(default_factory=list)


class DocumentChecker:
    """Checks documents and gives them their `_id`.

    Args:
        max_document_bytes: Bound of one document's JSON.
        key: Fields that an absent `_id` is derived from; none: it is a UUIDv7.
        seed: Makes the same UUIDv7s again, in the same order, see `DocumentIds`.
    """

    def __init__(
        self, max_document_bytes: int, key: tuple[str, ...] = (), seed: str | None = None
    ) -> None:
        self._max_bytes = max_document_bytes
        self._key = key
        self._new_ids = DocumentIds() if seed is None else SeededIds(seed)
        self._peek: msgspec.json.Decoder[Any] | None = None

    def check(self, raws: Sequence[bytes], first_line: int) -> Checked:
        """Check documents, at most a thousand or so at a time: about 1.5 µs each.

        Args:
            raws: One document each; blank ones are skipped, and counted as lines.
            first_line: The line of the first.
        """
        out = Checked()
        keep, keep_id = out.documents.append, out.ids.append
        loads, new_id, max_bytes = orjson.loads, self._new_ids.next, self._max_bytes
        derived = bool(self._key)
        careful = suspicious(b"\n".join(raws))
        line = first_line - 1
        for raw in raws:
            line += 1
            try:
                document = loads(raw)
            except ValueError:
                self._unparsed(raw, line, out)
                continue
            size = len(raw)
            if (
                type(document) is not dict
                or size > max_bytes
                or (careful and suspicious(raw))
                or (size >= _SHORTEST_TOO_DEEP and _maybe_deep(raw))
            ):
                fault = find_fault(raw, max_bytes)
                if fault is not None:
                    out.rejected.append(Rejected(line, fault))
                    continue
            if derived or "_id" in document or raw[0] != _BRACE:
                self._identify(raw, document, line, out)
                continue
            id_ = new_id()
            keep(b'{"_id":' + id_ + (b"," if document else b"") + raw[1:])
            keep_id(id_)
        return out

    def check_large(self, raw: bytes, line: int) -> Generator[None, None, Checked]:
        """Check one document over `LARGE_BYTES`; yields every few milliseconds."""
        out = Checked()
        if raw is TOO_LONG:
            self._unparsed(raw, line, out)
            return out
        fault = yield from find_large_fault(raw, self._max_bytes)
        if fault is not None:
            out.rejected.append(Rejected(line, fault))
            return out
        yield
        if self._peek is None:
            self._peek = _peek(("_id", *self._key))
        known = self._peek.decode(raw)
        document = {
            name: orjson.loads(bytes(value))
            for name, value in zip(("_id", *self._key), msgspec.structs.astuple(known), strict=True)
            if value is not msgspec.UNSET
        }
        if raw.strip(_WHITESPACE)[1:-1].strip(_WHITESPACE):
            document.setdefault("", None)  # whatever else is in it, it is not empty
        self._identify(raw, document, line, out)
        return out

    def _unparsed(self, raw: bytes, line: int, out: Checked) -> None:
        """What orjson refuses: a blank line, or the fault told in our words."""
        if raw is TOO_LONG:
            fault: DocumentFault | None = too_big(self._max_bytes)
        elif not raw.strip(_WHITESPACE):
            return
        else:
            fault = find_fault(raw, self._max_bytes)
        fault = fault or DocumentFault("$", "not valid JSON", malformed=True)
        out.rejected.append(Rejected(line, fault))

    def _identify(self, raw: bytes, document: dict[str, Any], line: int, out: Checked) -> None:
        """Keep a document with its own `_id`, or give it one."""
        if "_id" in document:
            found = document["_id"]
            if found is None or type(found) is list:
                # MongoDB takes no array, and null is one value: a second such document is lost.
                detail = "_id is null or an array; leave it out or make it a string"
                out.rejected.append(Rejected(line, DocumentFault("$._id", detail)))
                return
            out.documents.append(raw)
            out.ids.append(orjson.dumps(found))
            return
        if self._key:
            missing = [name for name in self._key if name not in document]
            if missing:
                detail = f"the key field {missing[0]!r} is missing"
                out.rejected.append(Rejected(line, DocumentFault(f"$.{missing[0]}", detail)))
                return
            id_ = derived_id([document[name] for name in self._key])
        else:
            id_ = self._new_ids.next()
        raw = raw.lstrip(_WHITESPACE)
        out.documents.append(b'{"_id":' + id_ + (b"," if document else b"") + raw[1:])
        out.ids.append(id_)


def _peek(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Reads some members of an object, raw, and skips the others."""
    fields = [f"member_{place}" for place in range(len(names))]
    raw = msgspec.Raw | msgspec.UnsetType
    return msgspec.json.Decoder(
        msgspec.defstruct(
            "Peek",
            [(field, raw, msgspec.UNSET) for field in fields],
            rename=dict(zip(fields, names, strict=True)),
        )
    )


def derived_id(values: list[Any]) -> bytes:
    """The JSON of an `_id` made from field values: equal values, equal `_id`.

    Args:
        values: Parsed JSON; the canonical form is compact, UTF-8, with sorted keys.
    """
    canonical = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    return b'"%b"' % sha256(canonical).hexdigest()[:32].encode()


def suspicious(data: bytes) -> bool:
    """Whether some document in the bytes may have a fault that orjson lets through.

    No false negatives but for depth; false positives cost a second reading.
    """
    return (
        (b"$" in data and b'"$' in data and _DOLLAR_KEY.search(data) is not None)
        or (b"\\" in data and (b"\\u0024" in data or b"\\u0000" in data))
        or (_DIGIT_RUN in data.translate(_DIGITS) and _has_big_integer(data))
    )


def _has_big_integer(data: bytes) -> bool:
    runs = _LONG_INTEGERS.findall(data)
    return any(len(run) > BIG_INTEGER_DIGITS or run > _BIGGEST for run in runs)


def _maybe_deep(raw: bytes) -> bool:
    return raw.count(b"{") + raw.count(b"[") > MAX_DEPTH
