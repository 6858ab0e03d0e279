"""What a process and its children have used so far, from /proc (proc_pid_stat(5))."""

import contextlib
import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """Processor seconds (utime + stime) of a process and of its children, living and reaped."""
    ticks = 0
    for one in _family(pid):
        with contextlib.suppress(OSError):
            fields = _stat(one)
            # utime, stime; cutime, cstime: children that ended and were waited for.
            ticks += sum(int(field) for field in fields[11:15])
    return ticks * _TICK_S


def rss_bytes(pid: int) -> int:
    """Resident memory of a process, without its children."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def peak_rss_bytes(pid: int) -> int:
    """The highest resident memory of a process since its start (VmHWM of proc_pid_status(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/{pid}/status has no VmHWM")


def descriptors(pid: int) -> int:
    """Open file descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in _listing(Path(f"/proc/{parent}/task")):
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _listing(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _stat(pid: int) -> list[str]:
    """The fields from `state` (3) on; the name before them may hold spaces and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
