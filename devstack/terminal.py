"""What the person at the terminal sees: progress, prefixed log lines, a table at the end."""

import asyncio
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95)
READ_EVERY_S = 0.2
_READ_BYTES = 262_144
_WIDTH = 15

# The servers tell much that nobody needs while all is well: their files have everything.
_WORTH_SHOWING: Mapping[str, re.Pattern[bytes]] = {
    "rabbitmq": re.compile(rb"\[(error|critical)\]|BOOT FAILED"),
    "redis": re.compile(rb"(?i)fatal|can't|oom|error"),
    "mongo": re.compile(rb'"s":"[EF]"'),
}


class Terminal:
    """Standard output, with colours when a person reads it."""

    def __init__(self) -> None:
        self._coloured = sys.stdout.isatty()
        self._names: dict[str, int] = {}
        self._started: dict[str, float] = {}

    def say(self, text: str = "") -> None:
        """Print a message of our own."""
        print(text, flush=True)

    def event(self, text: str) -> None:
        """Print a message of our own between log lines."""
        for line in text.splitlines():
            print(f"{self._prefix('devstack')} {self._bold(line)}", flush=True)

    def progress(self, name: str, state: str) -> None:
        """Print what a part is doing, with the time that it took to become ready."""
        if state == "starting":
            self._started[name] = time.monotonic()
        took = f" after {time.monotonic() - self._started[name]:.1f} s" * (state == "ready")
        self.event(f"{name} {state}{took}")

    def line(self, name: str, text: str) -> None:
        """Print one log line of a child."""
        print(f"{self._prefix(name)} {text}", flush=True)

    def _prefix(self, name: str) -> str:
        number = self._names.setdefault(name, len(self._names))
        padded = f"{name:<{_WIDTH}}│"
        return f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{padded}\x1b[0m" * self._coloured or padded

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._coloured else text


async def follow(logs: Mapping[str, Path], terminal: Terminal) -> None:
    """Print what is appended to the log files from now on, until cancelled.

    The children write to their files themselves, so a stopped terminal (Ctrl-S, a pager) stops
    nobody but us.

    Args:
        logs: Log file by name of its child; it need not exist yet.
        terminal: Where the lines go.
    """
    positions = {name: _size(path) for name, path in logs.items()}
    rests = dict.fromkeys(logs, b"")
    while True:
        for name, path in logs.items():
            size = _size(path)
            if size < positions[name]:
                positions[name] = 0  # it was rotated
            while positions[name] < size:
                with path.open("rb") as log:
                    log.seek(positions[name])
                    chunk = log.read(_READ_BYTES)
                positions[name] += len(chunk)
                *lines, rests[name] = (rests[name] + chunk).split(b"\n")
                for line in lines:
                    if name not in _WORTH_SHOWING or _WORTH_SHOWING[name].search(line):
                        terminal.line(name, line.decode(errors="replace"))
                if not chunk:
                    break
                await asyncio.sleep(0)
        await asyncio.sleep(READ_EVERY_S)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
