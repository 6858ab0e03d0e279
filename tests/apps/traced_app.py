"""A worker application whose tasks log, start others and have spans of their own."""

import asyncio
import os
from typing import Any

from celery import current_app
from celery.utils.log import get_task_logger

from penstock.worker.errors import RetryableError
from penstock.worker.running.context import TaskContext
from penstock.worker.running.spec import TaskSpec
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.registry import TASKS
from topology.layout import load_from_env

SURROGATE = "a\udc80b"
"""A file name that is not UTF-8, as `os.fsdecode` returns it."""
_logger = get_task_logger(__name__)
_config = WorkerConfig.from_env(os.environ)
if _config.tracing:
    from opentelemetry import baggage, trace


async def log(text: str) -> None:
    """Write a line, and one with a field of its own, and start another task."""
    _logger.info("own line: %s", text)
    _logger.info("own field", extra={"request_id": "of-the-author"})
    await asyncio.to_thread(current_app.tasks["demo.child"].delay)


def child() -> None:
    """Do nothing."""


def _own_span(name: str) -> str:
    """Make a span of the task's own; return the baggage that it sees."""
    with trace.get_tracer("of the task").start_as_current_span(name):
        return str(baggage.get_baggage("user"))


def function(context: TaskContext[Any]) -> str:
    """Have a span, try again once, start another task, and return the baggage."""
    found = _own_span("own function")
    if not context.retries:
        raise RetryableError("once more", retry_in_s=1)
    current_app.tasks["demo.child"].delay()
    return found


async def coroutine(*_: Any) -> str:
    """Have a span, start another task, and return the baggage."""
    await asyncio.sleep(0.01)
    found = _own_span("own coroutine")
    await asyncio.to_thread(current_app.tasks["demo.child"].delay)
    return found


def broken(*_: Any) -> None:
    """Fail."""
    raise ValueError(f"broken: {SURROGATE}")


app = build_app(
    _config,
    load_from_env(os.environ),
    [
        TaskSpec("demo.log_own", log),
        TaskSpec("demo.child", child),
        TaskSpec("demo.function", function),
        TaskSpec("demo.coroutine", coroutine),
        TaskSpec("demo.broken", broken),
        *(spec for spec in TASKS if spec.name == "documents.store"),
    ],
)
