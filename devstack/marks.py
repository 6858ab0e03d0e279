"""Which processes on this machine are ours: every child carries a mark in its environment.

The mark is inherited by children of children (prefork workers, Erlang's helpers), whatever
session or process group they move to, so it finds all that a killed parent left behind.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "PENSTOCK_DEVSTACK"


def marked_pids(mark: str) -> list[int]:
    """Return the living processes started under that mark, without this one."""
    wanted = f"{MARK}={mark}".encode()
    pids = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                pids.append(int(folder.name))
        except OSError:  # it ended just now, or belongs to somebody else
            continue
    return pids


def kill_marked(mark: str, timeout_s: float = 10.0) -> list[int]:
    """Kill every process under that mark and wait until they are gone.

    A zombie that is not our child has an empty environment, so it counts as gone.

    Args:
        mark: The value that the processes carry.
        timeout_s: Seconds to wait for the kernel to take them away.

    Returns:
        The processes that were found, for the message to the user.
    """
    found: list[int] = []
    deadline = time.monotonic() + timeout_s
    while (pids := marked_pids(mark)) and time.monotonic() < deadline:
        for pid in pids:
            if pid not in found:
                found.append(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return found
