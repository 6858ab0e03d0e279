"""A dead letter: why a message died, and the message to publish again. Pure.

Reasons come from two writers. RabbitMQ adds `x-death` when it dead-letters by itself (a worker's
reject, expiry, the delivery limit); a worker that buries a message says why in `x-penstock-…`
headers, because a consumer that rejects cannot add any.

A letter is published again to the queue that it died in, by its name: its first
exchange could bring it to other queues too, which have had it already.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec
import orjson

from gateway.decoding.json_text import has_flaw, is_utf8, outline
from gateway.timestamps import rfc3339
from penstock.wire.delay import delayed_destination
from penstock.wire.headers import (
    ERROR_HEADER,
    ERROR_TYPE_HEADER,
    LINEAGE_HEADER,
    REASON_HEADER,
    REPLAY_HEADER,
    TENANT_HEADER,
    TRACEBACK_HEADER,
)

UNROUTED = "unrouted"
"""Name of the letters that died in no work queue."""
MAX_LINEAGE = 10
MAX_SHOWN_BYTES = 64 * 1024
"""Octets of a body that is listed."""
_MAX_SHOWN_DEPTH: Final = 500
"""Deeper JSON is listed as text: parsers give up on a document of about 1,000 levels."""

_LONG_NUMBER: Final = re.compile(rb"[0-9]{309}")
"""Over a double's range, which some parsers refuse."""
_read_all = msgspec.json.Decoder(msgspec.Raw).decode  # builds nothing

_ERROR = {"type": ERROR_TYPE_HEADER, "message": ERROR_HEADER, "traceback": TRACEBACK_HEADER}
_BROKERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")
_BURIERS = frozenset({REASON_HEADER, *_ERROR.values()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter."""

    id: str
    """The task id, else the message id, else a hash of the body: what a replay names."""
    queue: str
    """The work queue that it died in; `unrouted`: none."""
    reason: str
    """`rejected`, `expired`, `delivery-limit`, `maxlen`, `unrouted`, or a worker's word."""
    time: float | None
    """When it died, unix seconds; None where it was not written down."""
    exchange: str
    """Exchange that it was published to, delays left out."""
    routing_key: str
    size: int
    """Octets of the body."""
    headers: Mapping[str, Any] = field(repr=False)
    shown: bytes | None = field(default=None, repr=False)
    """The body as it is listed, JSON; None: it is left out."""

    def to_json(self) -> dict[str, Any]:
        """Return the letter as our API lists it, but for its body; null: not written down."""
        task = self.headers.get("task")
        error = {
            name: str(self.headers[header])
            for name, header in _ERROR.items()
            if header in self.headers
        }
        listed: dict[str, Any] = {
            "id": self.id,
            "task": task if isinstance(task, str) else None,
            "reason": self.reason,
            "time": None if self.time is None else rfc3339(self.time),
            "error": error or None,
            "queue": self.queue,
            "exchange": self.exchange,
            "routing_key": self.routing_key,
            "size_bytes": self.size,
        }
        for name, header in (("tenant", TENANT_HEADER), ("retries", "retries")):
            if header in self.headers:
                listed[name] = self.headers[header]
        if self.replays:
            listed["replays"] = self.replays
            listed["lineage"] = self.headers.get(LINEAGE_HEADER)
        return listed

    @property
    def replays(self) -> int:
        """How often it has been published again so far."""
        count = self.headers.get(REPLAY_HEADER, 0)
        return count if isinstance(count, int) else 1

    def replay_headers(self, now: float) -> dict[str, Any]:
        """Return the headers to publish it again with.

        Without what the broker and the burying worker said of this death, which goes into the
        lineage, and without an expiry that is over.

        Args:
            now: Unix seconds.
        """
        headers = {
            name: value
            for name, value in self.headers.items()
            if name not in _BURIERS and not name.startswith(_BROKERS)
        }
        if _is_past(headers.get("expires"), now):
            headers["expires"] = None
        death = f"{rfc3339(self.time if self.time is not None else now)} {self.reason} {self.queue}"
        before = headers.get(LINEAGE_HEADER)
        before = before if isinstance(before, list) else []
        headers[LINEAGE_HEADER] = [death, *before][:MAX_LINEAGE]
        headers[REPLAY_HEADER] = self.replays + 1
        return headers


def read_letter(
    queue: str,
    *,
    headers: Mapping[str, Any],
    routing_key: str,
    message_id: str | None,
    timestamp: float | None,
    body: bytes,
    exchanges: Container[str],
    shards: Container[str] = (),
    room: int = 0,
) -> Letter:
    """Read one message of a dead-letter queue.

    Args:
        queue: The work queue whose letters these are; `unrouted` for delayed messages whose
            destination was gone.
        headers: The message's.
        routing_key: The delivery's; for `unrouted` it carries the destination.
        message_id: The property.
        timestamp: The property, unix seconds.
        body: The body, whatever it is.
        exchanges: Names of the layout's exchanges.
        shards: The queues of RabbitMQ behind the work queue.
        room: Octets that the body may take in a list; it is left out where it takes more.
    """
    deaths = [death for death in _list(headers.get("x-death")) if isinstance(death, Mapping)]
    death: Mapping[str, Any] = next(
        (one for one in deaths if one.get("queue") == queue or one.get("queue") in shards), {}
    )
    if queue == UNROUTED:
        death = deaths[0] if deaths else {}
        reason, exchange = UNROUTED, ""
    else:
        reason = str(headers.get(REASON_HEADER) or death.get("reason") or "unknown").replace(
            "_", "-"
        )
        exchange = str(death.get("exchange", ""))
        keys = _list(death.get("routing-keys"))
        routing_key = str(keys[0]) if keys else routing_key
    destination = delayed_destination(routing_key, exchanges)
    if destination is not None:
        exchange, routing_key = destination
    buried = REASON_HEADER in headers
    time = timestamp if buried else _unix(death.get("time")) or timestamp
    task_id = headers.get("id")
    if message_id is not None and REPLAY_HEADER in headers:
        message_id = message_id.partition("#")[0]  # what a replay added is no name of its own
    return Letter(
        id=task_id if isinstance(task_id, str) and task_id else message_id or _hash(body),
        queue=queue,
        reason=reason,
        time=time,
        exchange=exchange,
        routing_key=routing_key,
        size=len(body),
        headers=headers,
        shown=_shown(body, room),
    )


def _shown(body: bytes, room: int) -> bytes | None:
    """Return a body as JSON: as it is, or as text where it is none; None where it is too long."""
    if len(body) > min(room, MAX_SHOWN_BYTES):
        return None
    shown = body if _is_json(body) else orjson.dumps(body.decode("utf-8", "replace"))
    return shown if len(shown) <= room else None


def _is_json(body: bytes) -> bool:
    """Return whether a body is JSON that every parser reads, within a document, too."""
    try:
        _read_all(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    if not is_utf8(body) or has_flaw(body, _MAX_SHOWN_DEPTH, keys=False):
        return False
    return not (_LONG_NUMBER.search(body) and _LONG_NUMBER.search(outline(body)))


def _hash(body: bytes) -> str:
    return f"sha256:{sha256(body).hexdigest()[:32]}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _unix(value: Any) -> float | None:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value) if isinstance(value, int | float) else None


def _is_past(expires: Any, now: float) -> bool:
    if not isinstance(expires, str):
        return False
    try:
        moment = datetime.fromisoformat(expires)
    except ValueError:
        return False
    return (_unix(moment) or now) <= now
