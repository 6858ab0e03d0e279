"""Django's connections under coroutines: closed when they are dead or too old, as between requests.

Django keeps connections by thread. Those of coroutines (`acount()`, `sync_to_async`) are on the one
thread of asgiref, where what Celery does around each task never comes. All coroutines share them:
by age they are closed when none runs, since one may be in the middle of an iteration.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

_logger = logging.getLogger(__name__)


class DjangoConnections:
    """The connections that the coroutines of one event loop share; its thread calls this."""

    def __init__(self) -> None:
        self._running = 0
        self._lock = threading.Lock()
        self._is_due = False
        """Whether asgiref's thread is about to look at them."""
        self._is_idle = False
        """Whether no coroutine ran when that was asked for."""

    @classmethod
    def of_process(cls) -> "DjangoConnections | None":
        """Return those of a process of a Django project; None: it is of none."""
        conf = sys.modules.get("django.conf")
        is_django = "django.db" in sys.modules and conf is not None and conf.settings.configured
        return cls() if is_django else None

    async def around(self, start: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine; the connections are looked at before it and behind it.

        That waits for nothing: what the coroutine does on asgiref's thread comes after it.
        """
        self._look()
        self._running += 1
        try:
            return await start()
        finally:
            self._running -= 1
            self._look()

    def _look(self) -> None:
        with self._lock:
            is_due, self._is_due = self._is_due, True
            self._is_idle = (is_due and self._is_idle) or not self._running
        if not is_due:
            executor = sys.modules["asgiref.sync"].SyncToAsync.single_thread_executor
            with contextlib.suppress(RuntimeError):  # the process ends
                executor.submit(self._close_useless)

    def _close_useless(self) -> None:
        """Close connections; on asgiref's thread."""
        with self._lock:
            self._is_due, is_idle = False, self._is_idle
        for one in sys.modules["django.db"].connections.all(initialized_only=True):
            try:
                if is_idle:
                    one.close_if_unusable_or_obsolete()
                elif one.errors_occurred and not one.in_atomic_block:
                    one.errors_occurred = False  # as Django's
                    if not one.is_usable():
                        one.close()
            except Exception as error:  # noqa: BLE001  # a driver's; the next query raises it, too
                _logger.warning("not closed: connection=%s error=%r", one.alias, error)
