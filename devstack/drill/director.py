"""Who breaks what and when: the chosen faults in any order until time is over, or each once."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from devstack.drill.faults import Fault, Scene

_LONGEST_S = 120.0
SHORT_S = 12.0
LONG_S = 40.0
"""What a fault takes, about, healing included: one that no longer fits is not begun."""


@dataclass(slots=True, kw_only=True)
class Episode:
    """One moment of a drill: what broke together."""

    names: tuple[str, ...]
    began: float
    """Unix time."""
    healed: float = 0.0
    trouble: str = ""
    """What went wrong with the fault itself."""

    @property
    def title(self) -> str:
        """The faults in words."""
        return " + ".join(self.names)


class Director:
    """Breaks things.

    Args:
        scene: With what.
        faults: What to choose from.
        pairs: How often two at once, from 0 to 1.
        quiet_s: Shortest and longest time between a healing and the next fault.
        tell: Told each fault, as a sentence.
    """

    def __init__(
        self,
        scene: Scene,
        faults: Iterable[Fault],
        pairs: float,
        quiet_s: tuple[float, float],
        tell: Callable[[str], None],
    ) -> None:
        self._scene = scene
        self._chosen = list(faults)
        self._pairs = pairs
        self._quiet_s = quiet_s
        self._tell = tell
        self._next: list[Fault] = []
        self.episodes: list[Episode] = []

    @property
    def left_out(self) -> tuple[str, ...]:
        """The chosen faults that were not broken, for want of time."""
        broken = {name for episode in self.episodes for name in episode.names}
        return tuple(fault.name for fault in self._chosen if fault.name not in broken)

    async def run(self, until: float | None) -> None:
        """Break things until then (monotonic seconds); None: until each was broken once."""
        chance = self._scene.random
        self._deal()
        while True:
            await asyncio.sleep(chance.uniform(*self._quiet_s))
            faults = self._draw(None if until is None else until - time.monotonic())
            if not faults:
                return
            await self._episode(faults)
            if not self._next:
                if until is None:
                    return
                self._deal()

    def _deal(self) -> None:
        self._next = list(self._chosen)
        self._scene.random.shuffle(self._next)

    def _draw(self, left_s: float | None) -> tuple[Fault, ...]:
        """Take the next fault, or two; none when time is too short for any that is left."""
        fitting = [fault for fault in self._next if left_s is None or _takes_s(fault) <= left_s]
        if not fitting:
            return ()
        first = fitting[-1]
        self._next.remove(first)
        if self._scene.random.random() < self._pairs:
            others = [
                other
                for other in fitting
                if other is not first and not first.touches & other.touches
            ]
            if others:
                alike = (other for other in others if other.long == first.long)
                second = next(alike, others[0])
                self._next.remove(second)
                return first, second
        return (first,)

    async def _episode(self, faults: tuple[Fault, ...]) -> None:
        episode = Episode(names=tuple(fault.name for fault in faults), began=time.time())
        self.episodes.append(episode)
        self._tell(f"break: {episode.title}")
        try:
            async with asyncio.timeout(_LONGEST_S):
                ends = await asyncio.gather(
                    *(fault.strike(self._scene) for fault in faults), return_exceptions=True
                )
        except TimeoutError:
            episode.trouble = f"not over within {_LONGEST_S:g} s"
        else:
            episode.trouble = "; ".join(repr(end) for end in ends if isinstance(end, Exception))
        episode.healed = time.time()
        self._tell(
            f"healed: {episode.title} after {episode.healed - episode.began:.1f} s"
            + (f" ({episode.trouble})" if episode.trouble else "")
        )


def _takes_s(fault: Fault) -> float:
    return LONG_S if fault.long else SHORT_S
