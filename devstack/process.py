"""A child of ours with the interface of the servers: start, stop, kill, restart."""

import asyncio
import signal
import time
from dataclasses import dataclass
from typing import Protocol

from devstack.children import Child
from devstack.errors import StartError
from devstack.readiness import Probe, until_ready

_ASK_EVERY_S = 0.05
_LINES_OF_A_DEATH = 40


class Unit(Protocol):
    """What a stack is made of: `Rabbit`, `Redis`, `Mongo` and `Process`."""

    child: Child

    async def start(self) -> None:
        """Start it and return when it is ready, or raise `StartError`."""

    async def stop(self) -> None:
        """Stop it in order."""

    async def kill(self) -> None:
        """`kill -9`."""


class Process:
    """A worker, beat, Flower or a gateway.

    Args:
        child: The program.
        ready: Tells when it can be used.
        start_timeout_s: Seconds until a start counts as failed.
        stop_timeout_s: Seconds to end in order after SIGTERM, before it is killed.
    """

    def __init__(
        self,
        child: Child,
        ready: Probe,
        *,
        start_timeout_s: float = 60.0,
        stop_timeout_s: float = 30.0,
    ) -> None:
        self.child = child
        self._ready = ready
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            StartError: it ended, or was not ready in time; with the end of its log.
        """
        self.child.spawn()
        await until_ready(self.child, self._ready, self._start_timeout_s)

    async def stop(self) -> None:
        """Ask it to end, and kill it when it takes too long."""
        await self.child.stop(self._stop_timeout_s)

    async def kill(self) -> None:
        """`kill -9` it and its children."""
        await self.child.kill()

    async def restart(self) -> None:
        """Kill it and start it again."""
        await self.kill()
        await self.start()


@dataclass(slots=True)
class Death:
    """An end of a part that nothing here had asked for."""

    told: str
    """Its status and the end of its log."""
    at: float
    """Unix seconds."""
    back_at: float = 0.0
    """When it was ready again; 0: it is not."""

    def __str__(self) -> str:
        """Return what is told of it."""
        return self.told


class Part:
    """A unit that counts its starts, so that others can wait for its return.

    Args:
        unit: What it starts and stops.
    """

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self.child: Child = unit.child
        self.starts = 0
        self.ends_meant = 0
        """How often it was ended on purpose."""
        self.deaths: list[Death] = []
        """How it ended although nothing here had ended it."""

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        if self.starts > self.ends_meant + len(self.deaths):
            status, told = self.child.returncode, self.child.log_tail(_LINES_OF_A_DEATH)
            self.deaths.append(
                Death(
                    f"{self.child.name} ended with {status}; the end of its log:\n{told}",
                    at=self.child.ended_at,
                )
            )
        await self._unit.start()
        self.starts += 1
        for death in self.deaths:
            death.back_at = death.back_at or time.time()

    async def stop(self) -> None:
        """Stop it in order."""
        await self._unit.stop()

    async def kill(self) -> None:
        """`kill -9` it."""
        await self._unit.kill()

    async def end(self, number: signal.Signals, back_within_s: float) -> None:
        """End it with a signal, and wait until its supervisor has it back.

        Args:
            number: What to send.
            back_within_s: Seconds from now until it is ready again.

        Raises:
            StartError: It did not come back.
        """
        starts = self.starts
        self.ends_meant += 1
        self.child.signal(number)
        try:
            async with asyncio.timeout(back_within_s):
                while self.starts <= starts:  # noqa: ASYNC110  # whoever starts it tells nobody
                    await asyncio.sleep(_ASK_EVERY_S)
        except TimeoutError:
            name = self.child.name
            raise StartError(f"{name} was not back within {back_within_s:g} s") from None
