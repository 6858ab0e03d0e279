"""What the messages of a request say of it: its id, and the trace that it belongs to.

W3C Trace Context, section 3, and W3C Baggage, section 3; bounded, and left out where malformed.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from multidict import istr

from gateway.http.problems import REQUEST_ID
from gateway.rabbitmq.field_table import short_string, table_field
from gateway.telemetry.tracing import TRACE, RequestTrace
from penstock.wire.headers import BAGGAGE, MAX_REQUEST_ID, REQUEST_HEADER, TRACEPARENT, TRACESTATE

_TRACEPARENT: Final = istr(TRACEPARENT)
_TRACESTATE: Final = istr(TRACESTATE)
_BAGGAGE: Final = istr(BAGGAGE)
_SOUND_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_SOUND_LIST: Final = re.compile(r"[\x20-\x7e\t]*")
_MAX_TRACESTATE: Final = 512
"""Characters; W3C asks for as many at least."""
_MAX_BAGGAGE: Final = 8192
_SAMPLED: Final = 1
_ID_FIELD: Final = short_string(REQUEST_HEADER) + b"S"


@dataclass(slots=True, eq=False)
class Carried:
    """What goes on from a request into each of its messages."""

    request_id: str
    traceparent: str | None = None
    others: tuple[tuple[str, str], ...] = ()
    """`tracestate` and `baggage`."""
    trace: RequestTrace | None = field(default=None, repr=False)
    """Of the request, where it is sampled here."""

    @property
    def alone(self) -> bool:
        """Whether no other request may share a message with it: it is traced, or has baggage."""
        parent = self.traceparent
        return bool(self.others) or (parent is not None and int(parent[-2:], 16) & _SAMPLED != 0)

    def shared(self, count: int) -> "Carried":
        """Return what a message of so many requests says, of which this is the first."""
        if count == 1:
            return self
        more = f"+{count - 1}"
        return Carried(self.request_id[: MAX_REQUEST_ID - len(more)] + more, self.traceparent)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a message."""
        found = {REQUEST_HEADER: self.request_id}
        if self.traceparent is not None:
            found[TRACEPARENT] = self.traceparent
        return found | dict(self.others)

    def fields(self, traceparent: str | None = None) -> bytes:
        """Return the same as fields of an AMQP table, encoded.

        Args:
            traceparent: In place of the request's: of the span that publishes.
        """
        traceparent = traceparent or self.traceparent
        octets = self.request_id.encode()
        found = b"%b%b%b" % (_ID_FIELD, len(octets).to_bytes(4, "big"), octets)
        if traceparent is not None:
            found += table_field(TRACEPARENT, traceparent)
            for name, value in self.others:
                found += table_field(name, value)
        elif self.others:
            found += b"".join(table_field(name, value) for name, value in self.others)
        return found


def carried(request: web.Request) -> Carried:
    """Return what the messages of a request say of it."""
    headers = request.headers
    parent = headers.get(_TRACEPARENT)
    found = Carried(request[REQUEST_ID])
    trace = request.get(TRACE)
    if trace is not None:
        if parent is None or not _SOUND_TRACEPARENT.fullmatch(parent):
            found.traceparent, parent = trace.traceparent, None
        if trace.span is not None:
            found.trace = trace
    if parent is not None and _SOUND_TRACEPARENT.fullmatch(parent):
        found.traceparent = parent
        state = ",".join(headers.getall(_TRACESTATE, ()))
        if state and len(state) <= _MAX_TRACESTATE and _SOUND_LIST.fullmatch(state):
            found.others = ((TRACESTATE, state),)
        if trace is not None:
            found.traceparent = trace.traceparent
    if _BAGGAGE in headers:
        baggage = ",".join(headers.getall(_BAGGAGE))
        if len(baggage) <= _MAX_BAGGAGE and _SOUND_LIST.fullmatch(baggage):
            found.others = (*found.others, (BAGGAGE, baggage))
    return found
