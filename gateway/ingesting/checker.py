"""Documents: each checked at about the cost of one parse, given its `_id`, kept as its raw JSON.

msgspec skips through a document, which proves its syntax and builds nothing but the `_id`. What it
lets through (bad UTF-8, `$` keys, NUL in keys, numbers out of range, deep nesting) leaves traces in
the bytes, which are looked for in many documents at once; only a document that has one is looked
at again. To describe a fault costs more than to find it: only the first ones are described. Pure.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import msgspec
import orjson

from gateway.decoding import json_text
from gateway.decoding.splitter import TOO_LONG, WHITESPACE
from gateway.decoding.steps import LARGE_BYTES, at_once
from gateway.ingesting.document_faults import find_fault, too_big
from gateway.ingesting.document_ids import DocumentIds, SeededIds
from gateway.ingesting.large_documents import fault_of, find_large_fault
from penstock.wire.document_rules import BAD_ID, MAX_DEPTH, DocumentFault

_SHORTEST_TOO_DEEP: Final = 2 * (MAX_DEPTH + 1)
_BRACE: Final = ord("{")
_QUOTE: Final = ord('"')
_SHORT_BYTES: Final = 128
"""A shorter document that is no JSON is always described with the place of its fault;"""
_PLACED_BYTES: Final = 32 * 1024
"""others in so many octets of a request, as it takes a microsecond for each value."""


@dataclass(slots=True)
class FaultyDocument:
    """One document that may not be stored."""

    line: int
    """Its line, or its position in the array; from 1."""
    fault: DocumentFault


@dataclass(slots=True)
class CheckedSlice:
    """What one slice of a body became."""

    documents: list[bytes] = field(default_factory=list)
    """The raw JSON of the good ones, each with its `_id`."""
    ids: list[bytes] = field(default_factory=list)
    """The JSON of their `_id`s."""
    rejected: list[FaultyDocument] = field(default_factory=list)
    """The bad ones that are described: the first ones."""
    rejected_behind: list[int] = field(default_factory=list)
    """Of each bad one, how many good ones are before it."""

    @property
    def rejected_count(self) -> int:
        """Return the number of all bad ones."""
        return len(self.rejected_behind)


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
        self._peek = _peek(("_id", *key)) if key else _ID_PEEK
        self._placed_bytes = _PLACED_BYTES

    def check(self, raws: Sequence[bytes], first_line: int, describe: int = 1000) -> CheckedSlice:
        """Check documents, at most a thousand or so at a time: about 1 µs each.

        Args:
            raws: One document each; blank ones are skipped, and counted as lines.
            first_line: The line of the first.
            describe: How many bad ones are described.
        """
        out = CheckedSlice()
        keep, keep_id = out.documents.append, out.ids.append
        decode, new_id, max_bytes = self._peek.decode, self._new_ids.next, self._max_bytes
        text = b"\n".join(raws)
        careful = not (json_text.is_plain(text) and json_text.is_utf8(text))
        derived = bool(self._key)
        line = first_line - 1
        for raw in raws:
            line += 1
            if not raw:
                continue
            try:
                # msgspec would first read a number to its end: up to 7 µs for some of 5 digits.
                known = decode(raw) if raw[0] == _BRACE or _is_object(raw) else None
            except (msgspec.DecodeError, RecursionError):
                known = None
            if known is None:
                if raw.strip(WHITESPACE):
                    self._reject(raw, line, out, describe)
                continue
            size = len(raw)
            if size > max_bytes or (careful and not json_text.is_utf8(raw)):
                self._reject(raw, line, out, describe)
                continue
            suspicious = (careful and not json_text.is_plain(raw)) or (
                size >= _SHORTEST_TOO_DEEP and json_text.may_be_deeper(raw, MAX_DEPTH)
            )
            if suspicious and (flaw := _first_flaw(raw)) is not None:
                self._reject(raw, line, out, describe, flaw)
            elif derived or known.member_0 is not _UNSET or raw[0] != _BRACE or raw[1] != _QUOTE:
                self._identify(raw, known, line, out)
            else:
                id_ = new_id()
                keep(b'{"_id":' + id_ + b"," + raw[1:])
                keep_id(id_)
        return out

    def check_large(self, raw: bytes, line: int) -> Generator[None, None, CheckedSlice]:
        """Check one document over `LARGE_BYTES`; yields every few milliseconds."""
        out = CheckedSlice()
        fault = (
            too_big(self._max_bytes)
            if raw is TOO_LONG
            else (yield from find_large_fault(raw, self._max_bytes))
        )
        if fault is not None:
            _note(out, line, fault)
            return out
        yield
        self._identify(raw, self._peek.decode(raw), line, out)
        return out

    def _reject(
        self,
        raw: bytes,
        line: int,
        out: CheckedSlice,
        describe: int,
        flaw: json_text.Flaw | None = None,
    ) -> None:
        """Count a bad document, and describe it if it is among the first ones.

        Args:
            raw: The document.
            line: Its line.
            out: Where to.
            describe: How many are described.
            flaw: What is wrong with its text, where that is known.
        """
        if len(out.rejected) >= describe:
            out.rejected_behind.append(len(out.documents))
            return
        size = len(raw)
        if raw is TOO_LONG:
            fault: DocumentFault | None = too_big(self._max_bytes)
        elif flaw is None and size <= _SHORT_BYTES:
            fault = find_fault(raw, self._max_bytes)
        elif size <= self._placed_bytes:
            self._placed_bytes -= size
            fault = find_fault(raw, self._max_bytes)
        elif flaw is not None:
            fault = fault_of(flaw)
        else:
            fault = at_once(find_large_fault(raw, self._max_bytes))
        _note(out, line, fault or DocumentFault("$", "not valid JSON", malformed=True))

    def _identify(self, raw: bytes, known: Any, line: int, out: CheckedSlice) -> None:
        """Keep a document with its own `_id`, or give it one.

        Args:
            raw: The document.
            known: Its `_id` and key fields, raw.
            line: Its line.
            out: Where to.
        """
        own, *fields = msgspec.structs.astuple(known)
        if own is not _UNSET:
            id_ = bytes(own)
            if id_[0] in b"n[":
                _note(out, line, DocumentFault("$._id", BAD_ID))
                return
            out.documents.append(raw)
            out.ids.append(id_)
            return
        if fields:
            for name, value in zip(self._key, fields, strict=True):
                if value is _UNSET or bytes(value) == b"null":
                    # Null is one value, as for `_id`: a second such document would be lost.
                    what = "missing" if value is _UNSET else "null"
                    fault = DocumentFault(f"$.{name}", f"the key field {name!r} is {what}")
                    _note(out, line, fault)
                    return
            id_ = derived_id([orjson.loads(bytes(value)) for value in fields])
        else:
            id_ = self._new_ids.next()
        rest = raw.lstrip(WHITESPACE)[1:]
        empty = rest.lstrip(WHITESPACE)[:1] == b"}"
        out.documents.append(b'{"_id":' + id_ + (b"" if empty else b",") + rest)
        out.ids.append(id_)


def _note(out: CheckedSlice, line: int, fault: DocumentFault) -> None:
    out.rejected.append(FaultyDocument(line, fault))
    out.rejected_behind.append(len(out.documents))


def _is_object(raw: bytes) -> bool:
    return raw.lstrip(WHITESPACE)[:1] == b"{"


def _first_flaw(raw: bytes) -> json_text.Flaw | None:
    if len(raw) > LARGE_BYTES:  # in tests only: `check_large` is for those
        return at_once(json_text.find_flaw(raw, MAX_DEPTH, keys=True))
    return json_text.first_flaw(raw, MAX_DEPTH, keys=True)


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
    """Return the JSON of an `_id` made from field values: equal values, equal `_id`.

    Args:
        values: Parsed JSON; the canonical form is compact, UTF-8, with sorted keys.
    """
    canonical = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    return b'"%b"' % sha256(canonical).hexdigest()[:32].encode()


_UNSET: Final = msgspec.UNSET
_ID_PEEK: Final = _peek(("_id",))
