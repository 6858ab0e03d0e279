"""One child process: its own session, its log file, an end that leaves nothing behind.

Nothing here belongs to an event loop, so a server started in one loop (a session fixture)
can be killed and restarted from another (a test).
"""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from devstack.errors import StartError
from devstack.marks import MARK
from devstack.reaper import guard

RUN_MARK: Final = f"run-{os.getpid()}-{secrets.token_hex(4)}"
"""The default mark: all children of this process, and of no other."""

_POLL_S = 0.02
_ROTATE_BYTES = 16 * 1024 * 1024


class Running(Protocol):
    """A process that was started, as `subprocess.Popen` has it."""

    pid: int

    def poll(self) -> int | None:
        """Return its exit status, negative for a signal; None while it runs."""

    def send_signal(self, number: signal.Signals, /) -> None:
        """Send a signal, if it runs."""


class Child:
    """A program that runs beside us until `stop`, `kill`, or our own end.

    Args:
        name: Shown to people, and the name of the log file.
        argv: Program and arguments.
        log: File that its output is appended to; over 16 MiB it is rotated at a start.
        env: The whole environment of the program.
        cwd: Working folder.
        mark: Value that finds it again after a crash of ours.
        stop_signal: What asks it to end in order.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
        mark: str = RUN_MARK,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.log = log
        self.env = dict(env)
        self._cwd = cwd
        self._mark = mark
        self._stop_signal = stop_signal
        self._process: Running | None = None
        self._log_start = 0
        self.ended_at = 0.0
        """When its end was seen, unix seconds; 0: it runs, or was not waited for."""

    def __repr__(self) -> str:
        """Return name and state, for messages."""
        state = f"pid {self.pid}" if self.running else f"ended {self.returncode}"
        return f"<Child {self.name} {state}>"

    @property
    def pid(self) -> int:
        """Process id of the latest start; also the id of its session."""
        if self._process is None:
            raise StartError(f"{self.name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None before a start and while it runs."""
        return None if self._process is None else self._process.poll()

    def spawn(self) -> None:
        """Start the program.

        Raises:
            StartError: it runs already, or the program cannot be executed.
        """
        if self.running:
            raise StartError(f"{self.name} runs already")
        self.ended_at = 0.0
        guard(self._mark)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _ROTATE_BYTES:
            self.log.replace(self.log.with_suffix(self.log.suffix + ".1"))
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            try:
                self._process = self._start(output, self.env | {MARK: self._mark})
            except OSError as error:
                raise StartError(f"{self.name} cannot be started: {error}") from error

    def _start(self, output: BinaryIO, env: dict[str, str]) -> Running:
        return subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=self._cwd,
            start_new_session=True,  # or the Ctrl-C that is meant for us hits it too
        )

    async def wait(self) -> int:
        """Wait for the end of the process and return its exit status."""
        while (status := self.returncode) is None:
            if self._process is None:
                raise StartError(f"{self.name} was not started")
            await asyncio.sleep(_POLL_S)
        self.ended_at = self.ended_at or time.time()
        return status

    async def stop(self, timeout_s: float = 30.0) -> None:
        """Ask it to end, and kill it when it has not after that many seconds."""
        if self.running:
            self.signal(self._stop_signal)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self.wait()
        await self.kill()

    async def kill(self) -> None:
        """`kill -9` it and what else is left of its session, and wait until it is gone."""
        if self._process is None:
            return
        deadline = time.monotonic() + 10.0
        while (pids := _session_pids(self.pid)) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()  # a zombie of ours would be found again
            await asyncio.sleep(_POLL_S)
        await self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, if it lives."""
        if self._process is not None:
            self._process.send_signal(number)

    def logged(self) -> bytes:
        """Return what it has written since its latest start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()

    def log_tail(self, lines: int = 15) -> str:
        """Return the end of its log, for an error message."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 16_384))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def _session_pids(session: int) -> list[int]:
    """Return the living processes of a session (field 6 of proc_pid_stat(5)), zombies left out."""
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] not in {"Z", "X"}:
                    pids.append(int(folder.name))
    return pids
