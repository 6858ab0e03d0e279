"""Wait until the parent is gone, in whatever way, then kill every child that it left.

`python -m devstack.reaper MARK` reads its standard input, a pipe whose other end only the
parent holds. The kernel closes it when the parent ends, also by `kill -9`.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from devstack.marks import kill_marked

_started: dict[str, IO[bytes]] = {}


def guard(mark: str) -> None:
    """Start the reaper for that mark, once per process."""
    if mark in _started:
        return
    reaper = subprocess.Popen(
        [sys.executable, "-m", "devstack.reaper", mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parent.parent,
        start_new_session=True,
    )
    if reaper.stdin is None:  # pragma: no cover  (PIPE was asked for)
        raise AssertionError
    reaper.returncode = 0  # it outlives us on purpose: no ResourceWarning at our end
    _started[mark] = reaper.stdin


def main() -> None:
    """Block until the pipe ends, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    kill_marked(sys.argv[1])


if __name__ == "__main__":
    main()
