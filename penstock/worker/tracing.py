"""Spans of a worker: executions, what tasks publish, what is their own.

Off, each function here looks at one name and returns. On, the context of a message is the parent of
the execution, sampled or not: whatever the task starts, in any library, belongs to its trace.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from penstock import tracing
from penstock.wire.headers import TRACEPARENT

SERVICE = "penstock-worker"
BEAT_SERVICE = "penstock-beat"
MAX_DETAIL_CHARS = 1024

_on: Any = None
"""The module `penstock.spans`, where tracing is on."""
_tracer: Any = None
_running: ContextVar[Any] = ContextVar("execution", default=None)
"""The execution that the caller is part of."""


def begin(service: str = SERVICE) -> None:
    """Switch tracing on in this process, and in those that it forks; once.

    Args:
        service: its name, where OpenTelemetry's variables say none.

    Raises:
        TracingMissingError: OpenTelemetry is not installed.
    """
    global _on, _tracer  # noqa: PLW0603  # of the process
    if _on is None:
        spans = tracing.spans()
        _tracer = spans.Tracing(service)
        _on = spans


def begin_if_configured(app: Any, service: str = SERVICE) -> None:
    """Begin where the application's settings say so.

    Args:
        app: the application.
        service: as `begin`.

    Raises:
        SystemExit: OpenTelemetry is not installed; with what to install.
    """
    if app.conf.penstock_tracing:
        try:
            begin(service)
        except tracing.TracingMissingError as error:
            raise SystemExit(str(error)) from error


def is_on() -> bool:
    """Tell whether this process traces."""
    return _on is not None


def flush() -> None:
    """Export what waits: before a process ends."""
    if _on is not None:
        _tracer.flush()


class Executing:
    """One execution in its trace.

    Args:
        task_id: of the task.
        context: OpenTelemetry's, of the execution or, where that is not sampled, of its message.
        span: of the execution; None: it is not sampled.
    """

    __slots__ = ("context", "span", "task_id")

    def __init__(self, task_id: str, context: Any, span: Any) -> None:
        self.task_id = task_id
        self.context = context
        self.span = span

    @property
    def trace_id(self) -> str | None:
        """Of the trace, 32 hex digits; None: it is not sampled."""
        return None if self.span is None else f"{self.span.get_span_context().trace_id:032x}"

    def enter(self) -> None:
        """Make it the caller's, whose context ends with it: a coroutine of its own."""
        _running.set(self)
        _on.attach(self.context)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Make it the caller's for a while."""
        before = _running.set(self)
        token = _on.attach(self.context)
        try:
            yield
        finally:
            _on.detach(token)
            _running.reset(before)

    def around(self, traced: Callable[..., Any], *given: Any) -> Any:
        """Call Celery's tracer within it, and end it as the tracer answers.

        Args:
            traced: the tracer.
            given: its arguments.
        """
        with self.attached():
            try:
                answer = traced(*given)
            except BaseException as error:
                self.end("FAILURE", error)
                raise
            self.end(*outcome_of(answer))
            return answer

    def raised(self, error: BaseException) -> None:
        """Leave it to the end, which says whether that is a failure."""

    def end(self, state: str, error: BaseException | None = None) -> None:
        """End it; a second time does nothing.

        Args:
            state: SUCCESS, FAILURE, RETRY, REVOKED, or IGNORED, REJECTED of what has no end.
            error: why it failed.
        """
        span, self.span = self.span, None
        if span is None:
            return
        span.set_attribute("celery.state", state)
        if state == "FAILURE" and error is not None:
            _on.end(span, type(error).__qualname__, _text(error))
        else:
            _on.end(span)


def executing(task: str, request: Mapping[str, Any]) -> Executing | None:
    """Return the trace of an execution that begins; None: tracing is off, or it is known already.

    Args:
        task: its name.
        request: what Celery's context is made of.
    """
    if _on is None:
        return None
    task_id = request.get("id") or ""
    running = _running.get()
    if running is not None and running.task_id == task_id:
        return None
    headers = request.get("headers") or {}
    traceparent, sampled = _tracer.decide(headers.get(TRACEPARENT))
    parent = _on.context_of(headers, traceparent or None)
    if not sampled:
        return Executing(task_id, parent, None)
    info = request.get("delivery_info") or {}
    exchange, key, queue = (info.get(name) or "" for name in ("exchange", "routing_key", "queue"))
    span = _tracer.start(
        f"execute {task}",
        "consumer",
        parent,
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "execute",
            "messaging.operation.type": "process",
            "messaging.destination.name": ":".join(filter(None, (exchange, key, queue))),
            "messaging.rabbitmq.destination.routing_key": key,
            "messaging.message.id": task_id,
            "messaging.message.conversation_id": request.get("root_id") or task_id,
            "celery.task_name": task,
            "celery.retries": request.get("retries") or 0,
        },
        linked=True,
    )
    return Executing(task_id, _on.within(span, parent), span)


def outcome_of(answer: Any) -> tuple[str, BaseException | None]:
    """Return the state and the error of what Celery's tracer answers."""
    info = getattr(answer, "info", None)
    if info is None:
        return "SUCCESS", None
    error = info.retval
    return str(info.state), error if isinstance(error, BaseException) else None


def carry() -> Any:
    """Return the execution of the caller, for `enter` elsewhere; None: there is none."""
    return None if _on is None else _running.get()


def trace_id_of(request: Any) -> str | None:
    """Return the trace that an execution is recorded in: the request's, or else the caller's.

    Args:
        request: Celery's context of the execution, or None.
    """
    if _on is None:
        return None
    if own := getattr(request, "trace_id", None):
        return str(own)
    running = _running.get()
    return None if running is None else running.trace_id


@contextmanager
def publishing(task: str, options: dict[str, Any]) -> Iterator[None]:
    """Be the publish of a task message: its headers get the context of it.

    Args:
        task: its name.
        options: of Celery's `send_task`; `headers` are replaced.
    """
    if _on is None:
        yield
        return
    headers = options.get("headers") or {}
    context = _on.current()
    if not _on.is_valid(context):  # beat, or a program: its own trace, or that of the headers
        traceparent, sampled = _tracer.decide(headers.get(TRACEPARENT))
        context = _on.context_of(headers, traceparent or None)
    else:
        sampled = _on.is_recording(context)
    span = None
    if sampled:
        attributes = {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "celery.task_name": task,
        }
        if task_id := options.get("task_id"):
            attributes["messaging.message.id"] = task_id
        span = _tracer.start(f"publish {task}", "producer", context, attributes)
        context = _on.within(span, context)
    options["headers"] = {**headers, **_on.headers_of(context)}
    try:
        yield
    except BaseException as error:
        if span is not None:
            _on.end(span, type(error).__qualname__, _text(error))
            span = None
        raise
    finally:
        if span is not None:
            _on.end(span)


@contextmanager
def client_span(name: str, attributes: Mapping[str, Any]) -> Iterator[None]:
    """Be a call of a server, as a span of the trace that the caller is part of, if it is sampled.

    Args:
        name: of few values.
        attributes: by OpenTelemetry's semantic conventions.
    """
    if _on is None or not _on.is_recording(context := _on.current()):
        yield
        return
    span = _tracer.start(name, "client", context, attributes)
    error_type, detail = None, ""
    try:
        with _on.attached(_on.within(span, context)):
            yield
    except BaseException as error:
        error_type, detail = type(error).__qualname__, _text(error)
        raise
    finally:
        _on.end(span, error_type, detail)


def headers_here(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers with the context of the caller, where it is part of a trace."""
    if _on is None or not _on.is_valid(context := _on.current()):
        return dict(headers)
    return {**headers, **_on.headers_of(context)}


def _text(error: BaseException) -> str:
    try:
        return str(error)[:MAX_DETAIL_CHARS]
    except Exception:  # noqa: BLE001  # of a class of others
        return ""
