"""One /metrics for several processes on one port: each writes what it counted where all can read.

A scrape reaches any of the processes, and with a kept-alive connection always the same one. So
each writes its snapshot to a folder every second, and whoever is scraped adds them up. What a
process that died had counted stays counted; its gauges end with it. Figures of the others are up
to a second old, so two scrapes within one second may disagree.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.looper import Looper

WRITE_INTERVAL_S = 1.0
WRITE_TIMEOUT_S = 5.0
ALIVE_S = 5.0
"""A process that has not written for so long is dead, or as good as dead."""


class Snapshot(msgspec.Struct):
    """What one process counted; numbers that can be added to another's."""

    requests: list[tuple[str, str, int, float]] = []
    """Route, method, status, count."""
    durations: dict[str, tuple[list[float], float]] = {}
    """Route → counts by bucket, seconds in all."""
    counters: dict[str, dict[str, float]] = {}
    """Name → label value → count."""
    histograms: dict[str, tuple[list[float], float]] = {}
    """Name → counts by bucket, seconds in all."""
    gauges: dict[str, dict[str, float]] = {}
    """Name → label value → what this process has of it."""


_decode = msgspec.json.Decoder(Snapshot).decode


class Board:
    """The folder of snapshots.

    Args:
        folder: The same for all processes of one port, new at each start.
        take: Gives this process's snapshot.
    """

    def __init__(self, folder: Path, take: Callable[[], Snapshot]) -> None:
        self._folder = folder
        self._own = folder / f"{os.getpid()}-{time.time_ns()}.json"
        self._take = take
        self.looper = Looper(
            "metrics-board",
            self._turn,
            interval_s=WRITE_INTERVAL_S,
            deadline_s=WRITE_TIMEOUT_S,
            expected=(OSError,),
            at_end=self._write_last,
        )
        """Writes snapshots; a full disk costs figures, nothing else."""

    async def _write_last(self) -> None:
        """What was counted stays counted; gauges end with the process."""
        last = self._take()
        last.gauges = {}
        with contextlib.suppress(OSError):
            self._write(msgspec.json.encode(last))

    async def _turn(self) -> None:
        content = msgspec.json.encode(self._take())
        await asyncio.to_thread(self._write, content)

    async def others(self) -> list[Snapshot]:
        """The snapshots of the other processes."""
        return await asyncio.to_thread(self._read)

    def _write(self, content: bytes) -> None:
        part = self._own.with_suffix(".part")
        part.write_bytes(content)
        part.replace(self._own)

    def _read(self) -> list[Snapshot]:
        found = []
        for path in sorted(self._folder.glob("*.json")):
            if path == self._own:
                continue
            try:
                snapshot = _decode(path.read_bytes())
                age_s = time.time() - path.stat().st_mtime
            except (OSError, msgspec.DecodeError):
                continue
            if age_s > ALIVE_S:
                snapshot.gauges = {}
            found.append(snapshot)
        return found


def add_up(snapshots: list[Snapshot]) -> Snapshot:
    """The sum of what several processes counted."""
    requests: dict[tuple[str, str, int], float] = {}
    durations: dict[str, tuple[list[float], float]] = {}
    counters: dict[str, dict[str, float]] = {}
    gauges: dict[str, dict[str, float]] = {}
    histograms: dict[str, tuple[list[float], float]] = {}
    for one in snapshots:
        for route, method, status, count in one.requests:
            key = (route, method, status)
            requests[key] = requests.get(key, 0) + count
        for sum_of, found in ((durations, one.durations), (histograms, one.histograms)):
            for name, histogram in found.items():
                sum_of[name] = _add(sum_of.get(name, ([], 0.0)), histogram)
        for sums, values in ((counters, one.counters), (gauges, one.gauges)):
            for name, by_label in values.items():
                into = sums.setdefault(name, {})
                for label, value in by_label.items():
                    into[label] = into.get(label, 0) + value
    return Snapshot(
        requests=[(*key, count) for key, count in requests.items()],
        durations=durations,
        counters=counters,
        histograms=histograms,
        gauges=gauges,
    )


def _add(
    first: tuple[list[float], float], second: tuple[list[float], float]
) -> tuple[list[float], float]:
    if not first[0] or not second[0]:
        return first if first[0] else second
    counts = [one + other for one, other in zip(first[0], second[0], strict=True)]
    return counts, first[1] + second[1]
