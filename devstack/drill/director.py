"""Who breaks what and when: every chosen fault once in any order, and on until time is over."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from devstack.drill.faults import FAULTS, Fault, Scene

PAIRS = 0.35
"""Share of the moments at which two things break at once."""
_LONGEST_S = 120.0


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
        names: The faults to choose from.
        pairs: How often two at once, from 0 to 1.
        quiet_s: Shortest and longest time between a healing and the next fault.
        tell: Told each fault, as a sentence.
    """

    def __init__(
        self,
        scene: Scene,
        names: Iterable[str],
        pairs: float,
        quiet_s: tuple[float, float],
        tell: Callable[[str], None],
    ) -> None:
        self._scene = scene
        self._chosen = [FAULTS[name] for name in names]
        self._pairs = pairs
        self._quiet_s = quiet_s
        self._tell = tell
        self._next: list[Fault] = []
        self.episodes: list[Episode] = []

    async def run(self, until: float) -> None:
        """Break things until then (monotonic seconds), and until each has been broken once."""
        chance = self._scene.random
        self._deal()
        first_round = True
        while first_round or time.monotonic() < until:
            await asyncio.sleep(chance.uniform(*self._quiet_s))
            await self._episode(self._draw())
            if not self._next:
                first_round = False
                self._deal()

    def _deal(self) -> None:
        self._next = list(self._chosen)
        self._scene.random.shuffle(self._next)

    def _draw(self) -> tuple[Fault, ...]:
        first = self._next.pop()
        if self._scene.random.random() < self._pairs:
            others = [other for other in self._next if not first.touches & other.touches]
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
