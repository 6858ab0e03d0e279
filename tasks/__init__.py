"""Message in, result out: the Celery workers that ship, an app built with `penstock` as any other.

Knows which tasks exist, the layout, and MongoDB. Refuses to know HTTP: it never imports `gateway`,
`aiohttp` or `aio_pika`; the two processes share names and bytes, written down in `penstock.wire`
and checked by contract tests. What happens around an execution is `penstock.worker`.

Read `registry.py` (every task on one page), then `app.py` (what the application is made of:
`config.py`, `layout.py`, `resources.py`), `documents.py` with `store.py`, and `worker.py`.
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
