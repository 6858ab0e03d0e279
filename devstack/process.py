"""A child of ours with the interface of the servers: start, stop, kill, restart."""

from typing import Protocol

from devstack.children import Child
from devstack.readiness import Probe, until_ready


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

    @property
    def died_alone(self) -> int:
        """How often it ended although nothing here had ended it."""
        return max(0, self.starts - 1 - self.ends_meant)

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        await self._unit.start()
        self.starts += 1

    async def stop(self) -> None:
        """Stop it in order."""
        await self._unit.stop()

    async def kill(self) -> None:
        """`kill -9` it."""
        await self._unit.kill()
