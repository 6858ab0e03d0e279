"""Which processes on this machine are ours: every child carries a mark in its environment.

The mark is inherited by children of children (prefork workers, Erlang's helpers), whatever
session or process group they move to, so it finds all that a killed parent left behind.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "PENSTOCK_DEVSTACK"
_PREFIX = f"{MARK}=".encode()


def _marks() -> Iterator[tuple[int, str]]:
    """Yield process id and mark of every living process but this one that carries a mark."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended just now, or belongs to somebody else
            continue
        for variable in variables:
            if variable.startswith(_PREFIX):
                yield int(folder.name), os.fsdecode(variable[len(_PREFIX) :])


def marked_pids(mark: str) -> list[int]:
    """Return the living processes started under that mark, without this one."""
    return [pid for pid, found in _marks() if found == mark]


def marks_below(beginning: str) -> set[str]:
    """Return the marks in use that begin so."""
    return {mark for _, mark in _marks() if mark.startswith(beginning)}


def kill_marked(mark: str) -> list[int]:
    """Kill every process under that mark and wait until they are gone.

    A zombie that is not our child has an empty environment, so it counts as gone.

    Args:
        mark: The value that the processes carry.

    Returns:
        The processes that were found, for the message to the user.
    """
    found: list[int] = []
    deadline = time.monotonic() + 10  # for the kernel to take them away
    while (pids := marked_pids(mark)) and time.monotonic() < deadline:
        for pid in pids:
            if pid not in found:
                found.append(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return found
