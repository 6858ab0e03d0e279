"""Spans of a gateway: of each request, and of each message that it publishes.

Off, there is no object of this module. What is not sampled has no span: a request's trace context
goes on as text, and costs 1 to 2 µs.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiohttp import web
from multidict import istr

from penstock import tracing
from penstock.wire.headers import TRACEPARENT, TRACESTATE

SERVICE: Final = "penstock-gateway"
_TRACEPARENT: Final = istr(TRACEPARENT)
_TRACESTATE: Final = istr(TRACESTATE)


class RequestTrace:
    """What the trace of a request is here.

    Args:
        spans: The gateway's.
        traceparent: What goes on; empty: that of the span.
        span: Of the request; None: it is not sampled.
        context: OpenTelemetry's, of the span.
    """

    __slots__ = ("_context", "_spans", "span", "traceparent")

    def __init__(self, spans: "Spans", traceparent: str, span: Any, context: Any) -> None:
        self._spans = spans
        self.traceparent = traceparent
        self.span = span
        self._context = context

    @property
    def trace_id(self) -> str:
        """Of the trace, 32 hex digits."""
        return self.traceparent[3:35]

    def end(self, status: int) -> None:
        """End the span with the status of the answer."""
        span = self.span
        span.set_attribute("http.response.status_code", status)
        self._spans.module.end(span, str(status) if status >= 500 else None)

    def publish(self, task: str, task_id: str, address: tuple[str, str], size: int) -> "Publishing":
        """Begin the span of a message.

        Args:
            task: Its name.
            task_id: Its id.
            address: Exchange and routing key.
            size: Octets of the body.
        """
        module = self._spans.module
        span = self._spans.tracing.start(
            f"publish {task}",
            "producer",
            self._context,
            {
                "messaging.system": "rabbitmq",
                "messaging.operation.name": "publish",
                "messaging.operation.type": "send",
                "messaging.destination.name": ":".join(filter(None, address)),
                "messaging.rabbitmq.destination.routing_key": address[1],
                "messaging.message.id": task_id,
                "messaging.message.body.size": size,
                "celery.task_name": task,
            },
        )
        return Publishing(module, span)


class Publishing:
    """The span of one message, until RabbitMQ has confirmed it."""

    __slots__ = ("_module", "_span", "traceparent")

    def __init__(self, module: Any, span: Any) -> None:
        self._module = module
        self._span = span
        self.traceparent: str = module.traceparent_of(span.get_span_context())

    def failed(self, error: BaseException) -> None:
        """End it: the message was not written."""
        self._module.end(self._span, str(getattr(error, "code", type(error).__name__)), str(error))

    def confirmed(self, confirm: "asyncio.Future[None]") -> None:
        """End it with the outcome of the message."""
        if confirm.cancelled():
            self._module.end(self._span, "cancelled")
        elif (error := confirm.exception()) is not None:
            self.failed(error)
        else:
            self._module.end(self._span)


class Spans:
    """Makes the spans of this process.

    Raises:
        TracingMissingError: OpenTelemetry is not installed.
    """

    def __init__(self) -> None:
        self.module = tracing.spans()
        self.tracing = self.module.Tracing(SERVICE)

    def __repr__(self) -> str:
        """Name the sampler."""
        return f"<Spans {self.tracing!r}>"

    def request(self, request: web.Request) -> RequestTrace:
        """Begin the trace of a request here."""
        headers = request.headers
        given = headers.get(_TRACEPARENT)
        traceparent, sampled = self.tracing.decide(given)
        if not sampled:
            return RequestTrace(self, traceparent, None, None)
        state = ",".join(headers.getall(_TRACESTATE, ()))
        module = self.module
        found = {TRACEPARENT: given, TRACESTATE: state} if traceparent else {}
        resource = request.match_info.route.resource
        route = "" if resource is None else resource.canonical
        parent = module.context_of(found)
        attributes = {
            "http.request.method": request.method,
            "url.scheme": request.scheme,
            "url.path": request.path,
            "server.address": request.host.partition(":")[0],
            "network.protocol.version": f"{request.version.major}.{request.version.minor}",
        }
        if route:
            attributes["http.route"] = route
        span = self.tracing.start(
            f"{request.method} {route}".rstrip(), "server", parent, attributes
        )
        context = module.within(span, parent)
        return RequestTrace(self, module.traceparent_of(span.get_span_context()), span, context)

    @contextmanager
    def callback(self, host: str, traceparent: str) -> Iterator[str]:
        """Be a completion callback, as a span of the task's trace.

        Args:
            host: That is called.
            traceparent: Of the task that ended.

        Yields:
            What goes on in the header `traceparent`.
        """
        found, sampled = self.tracing.decide(traceparent)
        if not sampled:
            yield found
            return
        module = self.module
        span = self.tracing.start(
            "POST callback",
            "client",
            module.context_of({TRACEPARENT: traceparent}),
            {"http.request.method": "POST", "server.address": host},
        )
        error_type, detail = None, ""
        try:
            yield module.traceparent_of(span.get_span_context())
        except Exception as error:
            error_type, detail = type(error).__name__, str(error)
            raise
        finally:
            module.end(span, error_type, detail)


TRACE: Final = web.RequestKey("trace", RequestTrace)
