"""The application of this process, for `celery -A tasks.worker worker`, `… beat`, `… inspect`.

The only module here that does something at import: Celery imports it to find `app`.
"""

import os
from pathlib import Path

from tasks.app import build_app
from tasks.config import WorkerConfig, with_devstack
from topology.layout import load_from_env

_environment = with_devstack(os.environ, Path.cwd())

app = build_app(WorkerConfig.from_env(_environment), load_from_env(_environment))
