"""A worker process: Celery's, with what must be in place before it starts."""

from typing import Any

from celery.apps.worker import Worker as CeleryWorker

from penstock.worker.beat.liveness import touch_with_heartbeats
from penstock.worker.consuming.control import obey_stop_signals
from penstock.worker.messages.properties import survive_undecodable
from penstock.worker.stopping import end_in_time


class Worker(CeleryWorker):  # type: ignore[misc]  # Celery has no types
    """Celery's worker; an application that only publishes changes nothing of its process."""

    def on_before_init(self, **options: Any) -> None:
        """Prepare this process, and those that it forks."""
        obey_stop_signals(self.app)
        survive_undecodable()
        end_in_time()
        touch_with_heartbeats(self.app.conf.penstock_health_file)
        super().on_before_init(**options)
