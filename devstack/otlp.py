"""A receiver of OTLP over HTTP with protobuf: parses what the exporter sends; keeps the spans."""

import contextlib
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Span:
    """One span, as it was sent."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    status: int
    state: str


@dataclass
class Receiver:
    """What has come."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    called: list[str | None] = field(default_factory=list)
    """The header `traceparent` of each callback."""

    def named(self, name: str) -> list[Span]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]

    def of(self, trace_id: str) -> dict[str, Span]:
        """The spans of a trace, by id."""
        return {span.span_id: span for span in self.spans if span.trace_id == trace_id}

    def roots(self, trace_id: str) -> list[Span]:
        """The spans of a trace whose parent did not come: one, where it is one tree."""
        spans = self.of(trace_id)
        return [span for span in spans.values() if span.parent_id not in spans]

    async def done(self, request: web.Request) -> web.Response:
        """Take a completion callback."""
        self.called.append(request.headers.get("traceparent"))
        return web.Response()

    async def take(self, request: web.Request) -> web.Response:
        """Take an export."""
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        found = ExportTraceServiceRequest()
        found.ParseFromString(body)
        for of_resource in found.resource_spans:
            resource = _attributes(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                for one in of_scope.spans:
                    self.spans.append(_span(str(resource.get("service.name")), one))
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )


def _span(service: str, one: Any) -> Span:
    return Span(
        service,
        one.name,
        one.kind,
        one.trace_id.hex(),
        one.span_id.hex(),
        one.parent_span_id.hex(),
        _attributes(one.attributes),
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in one.links),
        one.status.code,
        one.trace_state,
    )


def _attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/traces", receiver.take)
    app.router.add_post("/done", receiver.done)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()
