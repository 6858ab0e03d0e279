"""A worker application that loses its connection once while it asks its neighbours (mingle).

What kombu raises there when the connection that it made for a second try is lost as well.
"""

import os
from typing import Any

from celery import bootsteps
from kombu.exceptions import OperationalError

from tasks.app import build_app
from tasks.config import WorkerConfig
from topology.layout import load_from_env


class LosesItsConnection(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    requires = ("celery.worker.consumer.mingle:Mingle",)
    lost = False

    def start(self, parent: Any) -> None:
        if not LosesItsConnection.lost:
            LosesItsConnection.lost = True
            raise OperationalError("[Errno 104] Connection reset by peer")


app = build_app(WorkerConfig.from_env(os.environ), load_from_env(os.environ))
app.steps["consumer"].add(LosesItsConnection)
