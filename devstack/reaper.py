"""Wait until the parent is gone, in whatever way, then kill every child that it left.

`python -m devstack.reaper MARK` reads its standard input, a pipe whose other end only the
parent holds. The kernel closes it when the parent ends, also by `kill -9`.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from devstack.marks import kill_marked

_started: dict[str, int] = {}


def guard(mark: str) -> None:
    """Start the reaper for that mark, once per process.

    The writing end of its pipe is a bare file descriptor, kept open until this process ends;
    children do not inherit it.
    """
    if mark in _started:
        return
    reading, writing = os.pipe()
    reaper = subprocess.Popen(
        [sys.executable, "-m", "devstack.reaper", mark],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parent.parent,
        start_new_session=True,
    )
    os.close(reading)
    reaper.returncode = 0  # it outlives us on purpose: no ResourceWarning at our end
    _started[mark] = writing


def main() -> None:
    """Block until the pipe ends, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    kill_marked(sys.argv[1])


if __name__ == "__main__":
    main()
