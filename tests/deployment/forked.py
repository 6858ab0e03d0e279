"""Processes of Celery that a zygote forks: a worker is ready in a third of the processor time."""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from devstack.children import RUN_MARK, Child, Running
from devstack.marks import MARK

_PROGRAM = Path(__file__).with_name("zygote.py")
_AT_IMPORT = ("PYTHON", "CELERY_", "C_", "LC_", "LANG")
"""How variables begin that Python or Celery read before a process is forked."""
_MOST_BYTES = 4096


class ForkedCelery(Child):
    """A `celery …` process of this Python; its first three arguments are `python -m celery`."""

    def _start(self, output: BinaryIO, env: dict[str, str]) -> Running:
        early = {
            name: value
            for name, value in env.items()
            if name.startswith(_AT_IMPORT) and name != "PYTHONPATH"
        }
        zygote = _zygote(tuple(sorted(early.items())))
        return zygote.fork(self.argv[3:], env, str(self._cwd or Path.cwd()), output)


class _Forked:
    """A forked process, with what `Child` uses of `Popen`."""

    def __init__(self, zygote: "_Zygote", pid: int) -> None:
        self.pid = pid
        self._zygote = zygote
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""
        if self._status is None:
            self._status = self._zygote.ask({"pid": self.pid})
        return self._status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


class _Zygote:
    """A process with Celery imported.

    Args:
        early: Variables that are read before it forks.
    """

    def __init__(self, early: dict[str, str]) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **early, MARK: RUN_MARK},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self.end)

    def fork(self, argv: list[str], env: dict[str, str], cwd: str, output: BinaryIO) -> Running:
        """Start a process."""
        request = {"argv": argv, "env": env, "cwd": cwd}
        return _Forked(self, self.ask(request, output.fileno()))

    def ask(self, request: dict[str, Any], *files: int) -> Any:
        """Send a request and return its answer."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], files)
            answer = self._socket.recv(_MOST_BYTES)
        if not answer:
            raise ChildProcessError("the zygote has ended")
        return json.loads(answer)

    def end(self) -> None:
        """Have it end; what it forked goes on."""
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


@cache
def _zygote(early: tuple[tuple[str, str], ...]) -> _Zygote:
    return _Zygote(dict(early))
