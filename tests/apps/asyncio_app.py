"""An app of ours with the tasks of `tests.apps.asyncio_tasks`."""

import os
import time
from typing import Any

from celery.worker.control import control_command

from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.registry import TASKS
from tests.apps.asyncio_tasks import add_tasks, hear_signals
from topology.layout import load_from_env

app = build_app(WorkerConfig.from_env(os.environ), load_from_env(os.environ), TASKS)
add_tasks(app)
hear_signals()


@control_command()  # type: ignore[untyped-decorator]  # Celery has no types
def stand_still(_: Any, seconds: float) -> None:
    """Hold Celery's loop, which obeys commands."""
    time.sleep(seconds)
