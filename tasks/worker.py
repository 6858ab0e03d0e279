"""The application of this process, for `celery -A tasks.worker worker`, `… beat`, `… inspect`.

The only module here that does something at import: Celery imports it to find `app`.
"""

import os
from pathlib import Path

from penstock.worker.tls import warn_when_unverified
from tasks.app import build_app
from tasks.config import WorkerConfig
from topology.layout import load_from_env
from topology.settings import with_devstack

_environment = with_devstack(os.environ, Path.cwd())

_config = WorkerConfig.from_env(_environment)

warn_when_unverified(_config.unverified)
app = build_app(_config, load_from_env(_environment))
