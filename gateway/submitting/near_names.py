"""Names of tasks that are like one that does not exist, for the answer to a typo."""

import time
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

NEAR: Final = 3
"""Names in an answer."""
_LONGEST: Final = 80
"""Longer names are not compared: that takes time with the square of the length."""
_MOST_COMPARED: Final = 200
_MOST_FOUND: Final = 6
_PER_S: Final = 20.0
_BURST: Final = 50.0
"""Searches: in a bulk of absent tasks the first ones are enough."""
_CELERYS: Final = "celery."


class NearNames:
    """Finds those of known names that are close to another one.

    Args:
        names: Those that are known.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._left = _BURST
        self._searched_at = 0.0
        self._names: tuple[str, ...] = ()
        self._closest = lru_cache(maxsize=256)(self._compare)
        self.take(names)

    def __repr__(self) -> str:
        """Return how many are known."""
        return f"<NearNames {len(self._names)}>"

    def take(self, names: Iterable[str]) -> None:
        """Make these the known names; those of Celery's own tasks are left out."""
        self._names = tuple(
            name for name in names if not name.startswith(_CELERYS) and len(name) <= _LONGEST
        )
        self._closest.cache_clear()

    def of(self, task: str) -> list[str]:
        """Return the closest names, the best first; none where too much was searched just now."""
        now = time.monotonic()
        refilled = self._left + (now - self._searched_at) * _PER_S
        self._left, self._searched_at = min(_BURST, refilled), now
        if len(task) > _LONGEST or self._left < 1:
            return []
        self._left -= 1
        return list(self._closest(task))

    def _compare(self, task: str) -> tuple[str, ...]:
        first, _, last = task.rpartition(".")
        likely = sorted(
            self._names, key=lambda name: (last not in name, not name.startswith(first))
        )
        found = get_close_matches(task, likely[:_MOST_COMPARED], n=_MOST_FOUND, cutoff=0.5)
        return tuple(found)


def meant(near: Iterable[str]) -> str:
    """Return a question about near names, to stand behind the name; nothing where there are none.

    Args:
        near: The names.
    """
    words = " or ".join(map(repr, near))
    return f" (do you mean {words}?)" if words else ""
