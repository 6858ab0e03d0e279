"""The application of this process, for `celery -A tasks.worker worker`, `… beat`, `… inspect`.

The only module here that does something at import: Celery imports it to find `app`.
"""

import os
import sys
from pathlib import Path

from penstock.worker.errors import ConfigurationError
from penstock.worker.tls import warn_when_unverified
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.modules import add_modules
from topology.errors import TopologyError
from topology.layout import load_from_env
from topology.settings import with_devstack

_environment = with_devstack(os.environ, Path.cwd())

try:
    _config = WorkerConfig.from_env(_environment)
    app = build_app(_config, load_from_env(_environment))
    add_modules(app, _config.task_modules)  # they may import `app` from here
except (ConfigurationError, TopologyError) as error:
    sys.exit(str(error))  # the program `celery` would print a traceback

warn_when_unverified(_config.unverified)
