"""A client that submits canvases of many tasks, one after another, to a stock app's queue.

    python -m bench.apps.canvas_client penstock KIND TASKS COUNT URL
    python -m bench.apps.canvas_client confirmed KIND TASKS COUNT
    python -m bench.apps.canvas_client defaults KIND TASKS COUNT

`penstock`: a POST to the gateway. `confirmed` and `defaults`: Celery's own client, with publisher
confirms and without. KIND is `group` or `chord`. Prints one line of JSON: seconds of each.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from urllib.parse import urlsplit

from celery import Celery, chord, group


def through_penstock(url: str, kind: str, tasks: int) -> Callable[[], None]:
    one = {"task": "demo.add", "args": [2, 3]}
    last = {"task": "demo.add", "args": [0, 1], "immutable": True}
    canvas: dict[str, object] = {"group": [one] * tasks}
    if kind == "chord":
        canvas = {"chord": {"header": [one] * tasks, "body": last}}
    connection = HTTPConnection(urlsplit(url).netloc)
    headers = {
        "Authorization": f"Bearer {os.environ['API_KEY']}",
        "Content-Type": "application/json",
    }

    def submit() -> None:
        connection.request("POST", "/v1/canvas", json.dumps(canvas), headers)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 202:
            raise RuntimeError(told.decode())

    return submit


def through_celery(kind: str, tasks: int, *, confirmed: bool) -> Callable[[], None]:
    app = Celery("bench", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
    app.conf.broker_transport_options = {"confirm_publish": confirmed}

    @app.task(name="demo.add")
    def add(x: int, y: int) -> int:
        return x + y

    def submit() -> None:
        header = group(add.s(2, 3) for _ in range(tasks))
        if kind == "chord":
            chord(header)(add.si(0, 1))
        else:
            header.apply_async()

    return submit


def main() -> None:
    client, kind, tasks, count = sys.argv[1:5]
    if client == "penstock":
        submit = through_penstock(sys.argv[5], kind, int(tasks))
    else:
        submit = through_celery(kind, int(tasks), confirmed=client == "confirmed")
    submit()  # connects
    took = []
    for _ in range(int(count)):
        started = time.perf_counter()
        submit()
        took.append(time.perf_counter() - started)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
