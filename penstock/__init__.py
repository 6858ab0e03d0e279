"""The library that any Celery app installs, and what processes share.

    from penstock import PermanentError, Penstock, RetryableError, TaskContext
    from penstock import install, log, progress

Its home is `penstock.worker`. Importing `penstock` itself loads none of that, nor Celery: the
gateway, which knows names and bytes of `penstock.wire` only, can afford it.
"""

import importlib
from typing import Any

VERSION = "0.1.0"
"""Of the whole deployment; a test holds it to pyproject.toml."""

_HOMES = {
    "Penstock": "penstock.worker.app",
    "PermanentError": "penstock.worker.errors",
    "RetryableError": "penstock.worker.errors",
    "TaskContext": "penstock.worker.running.context",
    "install": "penstock.worker.installing",
    "log": "penstock.worker.running.reports",
    "progress": "penstock.worker.running.reports",
}
"""What users import from here; `__init__.pyi` says the same to type checkers."""


def __getattr__(name: str) -> Any:
    """Import one of the public names when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
