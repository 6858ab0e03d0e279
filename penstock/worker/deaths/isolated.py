"""A process for one execution, whose end is seen.

The processes are forked by a server (`multiprocessing`'s forkserver) that is started when it is
first needed, has the application imported and runs no threads: a fork of a worker with threads
could inherit a lock that no thread of the child ever releases.
"""

import atexit
import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from celery.app.trace import setup_worker_optimizations
from celery.concurrency.prefork import process_destructor, process_initializer

from penstock.worker.process import adopt_token
from penstock.worker.running.preparation import prepare
from penstock.worker.running.runtime import STOP_SIGNALS

_FOREIGN = ("celery", "kombu", "billiard", "multiprocessing")
"""Packages that keep the application too, for themselves."""
_LEAVE_WITHIN_S = 10.0
"""A process that has answered and does not end is killed."""

_context = multiprocessing.get_context("forkserver")
_lock = threading.Lock()
_running: dict[str, Any] = {}


@dataclass(frozen=True)
class Call:
    """An execution, to be pickled."""

    place: tuple[str, str]
    """Module and name of the application."""
    token: str
    """Of the worker that asks for it (`penstock/worker/process.py`)."""
    task: str
    task_id: str
    args: Any
    kwargs: Any
    request: Any


class DiedError(Exception):
    """The process ended before the task did."""

    def __init__(self, status: int | None) -> None:
        super().__init__(exit_words(status))


class NotStartedError(Exception):
    """The process ended before it could call the task."""


def exit_words(status: int | None) -> str:
    """Write how a process ended, from its exit status, negative for a signal."""
    if status is None:
        return "unknown"
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {-status} ({signal.Signals(-status).name})"
    return f"signal {-status}"


def place_of(app: Any) -> tuple[str, str] | None:
    """Find the module and the name by which another process can import the application."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _FOREIGN:
            continue
        for attribute, value in list(vars(module).items() if module is not None else ()):
            if value is app:
                return name, attribute
    return None


def run(call: Call) -> tuple[bool, Any, float | None, Any]:
    """Execute a task in a process of its own, and wait for it.

    Returns:
        Whether it failed; if so what is to be told; how long it took; its result as a text.

    Raises:
        DiedError: The process died under the task.
        NotStartedError: It never came to the task.
    """
    receiver, sender = _context.Pipe(duplex=False)
    with receiver:
        with sender, _lock:
            _context.set_forkserver_preload([call.place[0]])
            process = _context.Process(target=_execute, args=(call, sender), name=call.task)
            try:
                process.start()
            except OSError as error:
                raise NotStartedError(repr(error)) from error
            _running[call.task_id] = process
        begun = False
        try:
            begun = bool(receiver.recv())
            answer: tuple[bool, Any, float | None, Any] = receiver.recv()
        except (EOFError, ConnectionError):
            process.join()
            if begun:
                raise DiedError(process.exitcode) from None
            raise NotStartedError(exit_words(process.exitcode)) from None
        finally:
            with _lock:
                _running.pop(call.task_id, None)
    process.join(_LEAVE_WITHIN_S)
    if process.exitcode is None:
        process.kill()
    return answer


def stop(task_id: str, reason: str) -> bool:
    """Cancel the coroutine of a task that runs so; see `Request.stop_coroutine`."""
    with _lock:
        process = _running.get(task_id)
    if process is None or process.pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, STOP_SIGNALS[reason])
    return True


@atexit.register
def kill_all() -> None:
    """End the processes of a worker that ends; the broker delivers their tasks again."""
    for process in list(_running.values()):
        process.kill()


def _execute(call: Call, sender: Connection) -> None:
    """Be the process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    adopt_token(call.token)
    app = getattr(importlib.import_module(call.place[0]), call.place[1])
    prepare(app)
    setup_worker_optimizations(app, call.request["hostname"])
    process_initializer(app, call.request["hostname"])
    sender.send(True)  # noqa: FBT003  # from here on the task is responsible
    task = app.tasks[call.task]
    value, info, runtime, shown = task.__trace__(call.task_id, call.args, call.kwargs, call.request)
    sender.send((bool(info), value if info else None, runtime, shown))
    process_destructor(os.getpid(), 0)


def _die_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
