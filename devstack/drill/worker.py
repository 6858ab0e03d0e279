"""The product's worker with the drill's tasks besides: `celery -A devstack.drill.worker`."""

import os

from devstack.drill.tasks import SPECS
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.registry import TASKS
from topology.layout import load_from_env

_config = WorkerConfig.from_env(os.environ)

app = build_app(_config, load_from_env(os.environ), (*TASKS, *SPECS))
"""Found by Celery under this name."""
