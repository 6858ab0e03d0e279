"""What Celery itself makes of the canvases: a program, since its clients outlive their servers.

`python -m tests.celery_canvases` prints the results as JSON; with a group's id as its argument, the
results of the group as `GroupResult.restore` gives them.
"""

import json
import sys

from celery.result import GroupResult

from tasks.worker import app
from tests.canvases import CANVASES, celerys

TIMEOUT_S = 20

if __name__ == "__main__":
    if len(sys.argv) > 1:
        group = GroupResult.restore(sys.argv[1], app=app)
        sys.stdout.write(json.dumps(group.get(timeout=TIMEOUT_S)))
    else:
        results = {
            name: celerys(canvas, app).apply_async().get(timeout=TIMEOUT_S)
            for name, canvas in CANVASES.items()
        }
        sys.stdout.write(json.dumps(results))
