"""A worker process: Celery's, with what must be in place before it starts."""

from typing import Any

from celery.apps.worker import Worker as CeleryWorker
from celery.utils.log import get_logger

from penstock.worker.beat.liveness import touch_with_heartbeats
from penstock.worker.running.preparation import prepare
from penstock.worker.stopping import leave_threads

_logger = get_logger(__name__)


class Worker(CeleryWorker):  # type: ignore[misc]  # Celery has no types
    """Celery's worker; an application that only publishes changes nothing of its process."""

    def on_before_init(self, **options: Any) -> None:
        """Prepare this process, and those that it forks."""
        prepare(self.app)
        touch_with_heartbeats(self.app.conf.penstock_health_file)
        super().on_before_init(**options)

    def start(self) -> None:
        """Be the worker until it stops."""
        try:
            super().start()
        finally:
            leave_threads(self)

    def on_start(self) -> None:
        """Say what the application's own settings give up."""
        super().on_start()
        for loss in self.app.given_up():
            _logger.warning("a promise is given up: %s", loss)
