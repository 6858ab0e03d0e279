"""A process with Celery imported, which forks processes that go on as `python -m celery …`.

Most of the processor time of a worker's start are imports. What is imported here is Celery and what
it stands on, nothing of ours: that each process imports for itself, in its own environment.

Run by `forked.py` as a program, with the number of a socket. A request is a JSON object: `argv`,
`env` and `cwd`, with the file for the output beside it, is answered by a process id; `pid` by the
exit status as of subprocess, null while it runs. The end of the socket is the end of this process.
"""

import gc
import importlib
import json
import os
import runpy
import socket
import sys
import time
from typing import Any

MODULES = (
    "celery.bin.celery",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.log",
    "celery.backends.redis",
    "celery.concurrency.prefork",
    "celery.concurrency.thread",
    "celery.events.state",
    "celery.fixups.django",
    "celery.loaders.app",
    "celery.worker.consumer",
    "kombu.transport.pyamqp",
    "motor.motor_asyncio",
    "msgspec",
    "orjson",
    "redis.asyncio",
)
_MOST_BYTES = 1 << 18


def serve(connection: socket.socket) -> dict[str, Any]:
    """Answer requests; return in a forked process, with what it is to be."""
    while True:
        text, files, _, _ = socket.recv_fds(connection, _MOST_BYTES, 1)
        if not text:
            os._exit(0)
        request: dict[str, Any] = json.loads(text)
        answer: int | None = None
        if "pid" in request:
            found, status = os.waitpid(request["pid"], os.WNOHANG)
            if found:
                answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if not answer:
                connection.close()
                _turn_into(request, files[0])
                return request
            os.close(files[0])
        connection.send(json.dumps(answer).encode())


def _turn_into(request: dict[str, Any], output: int) -> None:
    """Have the process what subprocess would give it."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for given, number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(given, number)
    os.close(nothing)
    os.close(output)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    more = os.environ.get("PYTHONPATH", "")
    sys.path[:1] = [request["cwd"], *filter(None, more.split(os.pathsep))]
    sys.argv = ["celery", *request["argv"]]


if __name__ == "__main__":
    for name in MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("celery", run_name="__main__", alter_sys=True)
