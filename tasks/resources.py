"""What the tasks of this deployment share in each worker process."""

from dataclasses import dataclass
from pathlib import Path

from penstock.wire.document_rules import COLLECTION_PATTERN
from penstock.worker.running.context import TaskContext
from tasks.store import Store


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Made once for each process."""

    store: Store
    """MongoDB; for coroutine tasks only: it belongs to the event loop."""

    scripts_dir: Path
    """The only folder to start programs from."""

    collection_pattern: str = COLLECTION_PATTERN
    """Names of collections that documents may go to."""


Context = TaskContext[Resources]
"""The first parameter of a task of this deployment that needs its context."""
