"""Message in, result out: the Celery workers of a Penstock deployment.

Knows Celery, Redis and MongoDB, and which tasks exist. Refuses to know HTTP: it never imports
`gateway`, `aiohttp` or `aio_pika`; the two processes share names and bytes, written down in
`topology` and checked by contract tests.

Read `registry.py` (every task on one page), then `execution.py` (what happens around one
execution), `runtime.py` (where coroutines run), `states.py` (what is written to Redis), and then
the places where Celery itself is extended: `consumer.py`, `request.py`, `suspects.py`, `amqp.py`,
`result_backend.py`.
"""

import importlib
import sys
from pathlib import Path
from typing import Any


def __getattr__(name: str) -> Any:
    """Return the application for `celery -A tasks`, which looks for `celery` in a package.

    Importing the package does nothing by itself: making the application reads the environment.
    """
    if name == "celery":
        root = str(Path(__file__).parent.parent)
        if root not in sys.path:  # the program `celery` has the folder there only while it imports
            sys.path.append(root)
        return importlib.import_module("tasks.worker").app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
