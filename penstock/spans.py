"""OpenTelemetry, for gateways and workers: sampling decided cheaply, spans, contexts of messages.

Imported only where tracing is on (`penstock.tracing`). Exporter, sampler and resource are set by
OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`,
`OTEL_SERVICE_NAME`, …). What is not sampled costs no span: its trace context is handed on as text.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from penstock.wire.headers import BAGGAGE, TRACEPARENT, TRACESTATE

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_LOW_64_BITS: Final = (1 << 64) - 1
_KINDS: Final = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_FLUSH_MS: Final = 3000
_UNSAMPLED: Final = TraceFlags(0)
_SAMPLED: Final = TraceFlags(1)
_NO_STATE: Final = TraceState()
_baggage: Final = W3CBaggagePropagator()


class _Ids(RandomIdGenerator):
    """Random ids; that of a trace which was decided on beforehand is given once."""

    def __init__(self) -> None:
        self.decided = 0

    def generate_trace_id(self) -> int:
        found, self.decided = self.decided, 0
        return found or super().generate_trace_id()


class Tracing:
    """Spans of this process.

    Args:
        service: Its name, where OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say none.
    """

    def __init__(self, service: str) -> None:
        found = trace.get_tracer_provider()
        if isinstance(found, TracerProvider):  # the application has its own
            provider = found
        else:
            provider = TracerProvider(resource=_resource(service))
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            trace.set_tracer_provider(provider)
        self._provider = provider
        tracer: Any = provider.get_tracer("penstock")
        self._ids = tracer.id_generator = _Ids()
        self._tracer = tracer
        self._parents_decide, self._is_taken = _decision(provider.sampler)

    def __repr__(self) -> str:
        """Name the sampler."""
        return f"<Tracing {self._provider.sampler.get_description()}>"

    def flush(self) -> None:
        """Export what waits, within a few seconds: before a process ends."""
        self._provider.force_flush(_FLUSH_MS)

    def decide(self, traceparent: str | None) -> tuple[str, bool]:
        """Decide whether a trace is sampled here; the text of a context is cheap to make.

        Args:
            traceparent: Of the caller; None, or malformed: the trace begins here.

        Returns:
            What is handed on when it is not, and whether it is.
        """
        if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
            if self._parents_decide:
                return traceparent, bool(int(traceparent[-1], 16) & 1)
            if self._is_taken(int(traceparent[3:35], 16)):
                return traceparent, True
            return f"{traceparent[:-2]}00", False
        trace_id = random.getrandbits(128) or 1
        if self._is_taken(trace_id):
            self._ids.decided = trace_id
            return "", True
        return f"00-{trace_id:032x}-{random.getrandbits(64) or 1:016x}-00", False

    def start(
        self,
        name: str,
        kind: str,
        parent: Context,
        attributes: Mapping[str, Any],
        *,
        linked: bool = False,
    ) -> Span:
        """Start a span of a trace that is sampled.

        Args:
            name: Of few values.
            kind: server, client, producer or consumer.
            parent: From `context_of`, or of another span.
            attributes: By OpenTelemetry's semantic conventions.
            linked: Whether it is linked to its parent, too.
        """
        links = None
        if linked:
            context = trace.get_current_span(parent).get_span_context()
            links = [Link(context)] if context.is_valid else None
        sound = {
            key: _sound(value) if isinstance(value, str) else value
            for key, value in attributes.items()
        }
        span: Span = self._tracer.start_span(
            _sound(name), parent, _KINDS[kind], attributes=sound, links=links
        )
        return span


def context_of(headers: Mapping[str, Any], traceparent: str | None = None) -> Context:
    """Return the context that headers of a message, or of a request, stand for.

    Args:
        headers: With `traceparent`, `tracestate`, `baggage`; what is malformed is left out.
        traceparent: In place of that of the headers.
    """
    context = Context()
    found = traceparent or headers.get(TRACEPARENT)
    if isinstance(found, str) and _TRACEPARENT.fullmatch(found):
        state = headers.get(TRACESTATE)
        span_context = SpanContext(
            int(found[3:35], 16),
            int(found[36:52], 16),
            is_remote=True,
            trace_flags=_SAMPLED if int(found[-1], 16) & 1 else _UNSAMPLED,
            trace_state=TraceState.from_header([state]) if isinstance(state, str) else _NO_STATE,
        )
        context = trace.set_span_in_context(NonRecordingSpan(span_context), context)
    if isinstance(baggage := headers.get(BAGGAGE), str):
        context = _baggage.extract({BAGGAGE: baggage}, context)
    return context


def within(span: Span, context: Context) -> Context:
    """Return a context in which the span is the current one, with the baggage of another."""
    return trace.set_span_in_context(span, context)


def current() -> Context:
    """Return the context of the caller."""
    return contexts.get_current()


def attach(context: Context) -> Any:
    """Make a context the caller's; returns what `detach` takes."""
    return contexts.attach(context)


def detach(token: Any) -> None:
    """End that."""
    contexts.detach(token)


@contextmanager
def attached(context: Context) -> Iterator[None]:
    """Make a context the caller's for a while."""
    token = contexts.attach(context)
    try:
        yield
    finally:
        contexts.detach(token)


def is_valid(context: Context) -> bool:
    """Tell whether a context has a span, recorded or not."""
    return trace.get_current_span(context).get_span_context().is_valid


def is_recording(context: Context) -> bool:
    """Tell whether the span of a context is recorded."""
    return trace.get_current_span(context).is_recording()


def headers_of(context: Context) -> dict[str, str]:
    """Return a context as headers of a message."""
    found: dict[str, str] = {}
    span_context = trace.get_current_span(context).get_span_context()
    if span_context.is_valid:
        found[TRACEPARENT] = traceparent_of(span_context)
        if span_context.trace_state:
            found[TRACESTATE] = span_context.trace_state.to_header()
    _baggage.inject(found, context)
    return found


def traceparent_of(span_context: SpanContext) -> str:
    """Return the text of a span's context."""
    ids = f"{span_context.trace_id:032x}-{span_context.span_id:016x}"
    return f"00-{ids}-{int(span_context.trace_flags):02x}"


def end(span: Span, error_type: str | None = None, detail: str = "") -> None:
    """End a span.

    Args:
        span: The span.
        error_type: Of few values; None: it did not fail.
        detail: What went wrong.
    """
    if error_type is not None:
        span.set_attribute("error.type", _sound(error_type))
        span.set_status(Status(StatusCode.ERROR, _sound(detail)))
    span.end()


def _sound(text: str) -> str:
    """Return a text that protobuf can encode: what is no UTF-8 would lose the whole export."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _resource(service: str) -> Resource:
    found = Resource.create()
    named = str(found.attributes.get(SERVICE_NAME, ""))
    if not named or named.startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: service}))
    return found


def _decision(sampler: Sampler) -> tuple[bool, Callable[[int], bool]]:
    """Return whether the caller's decision stands, and what decides on a new trace.

    Asking a sampler costs 2 µs; the one that takes a part of all traces looks at 64 bits of the id.
    """
    parents_decide = isinstance(sampler, ParentBased)
    root: Any = getattr(sampler, "_root", sampler) if parents_decide else sampler
    if isinstance(root, TraceIdRatioBased):
        bound = root.bound
        return parents_decide, lambda trace_id: trace_id & _LOW_64_BITS < bound

    def asked(trace_id: int) -> bool:
        result = root.should_sample(None, trace_id, "", SpanKind.SERVER)
        return bool(result.decision.is_sampled())

    return parents_decide, asked
