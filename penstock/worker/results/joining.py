"""Groups that a worker joins itself, for a chord whose header ends in groups.

Celery allows that by switching off, for a moment, a flag of the whole process which forbids tasks
to wait for others (`celery.result.allow_join_result`). On the threads pool another thread that
leaves its moment switches it on again, and the chord fails with "Never call result.get() within a
task!". Here the permission belongs to the thread.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.result import GroupResult as CeleryGroupResult

_here = threading.local()


@contextmanager
def joining() -> Iterator[None]:
    """Allow this thread to join groups."""
    before = getattr(_here, "allowed", False)
    _here.allowed = True
    try:
        yield
    finally:
        _here.allowed = before


class GroupResult(CeleryGroupResult):  # type: ignore[misc]  # Celery has no types
    """Celery's, which a thread that joins for a chord may wait for."""

    def join_native(self, *args: Any, disable_sync_subtasks: bool = True, **options: Any) -> Any:
        """Return the results of all members, in order."""
        forbidden = disable_sync_subtasks and not getattr(_here, "allowed", False)
        return super().join_native(*args, disable_sync_subtasks=forbidden, **options)
