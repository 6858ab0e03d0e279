"""The product's worker with the drill's tasks besides: `celery -A devstack.drill.worker`."""

import os

from devstack.drill.tasks import SPECS
from tasks.announce import announce_when_ready
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.registry import TASKS
from topology.layout import load_from_env

_specs = (*TASKS, *SPECS)
_config = WorkerConfig.from_env(os.environ)

app = build_app(_config, load_from_env(os.environ), _specs)
"""Found by Celery under this name."""

announce_when_ready(_specs, _config.redis_url)
