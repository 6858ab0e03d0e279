"""Which faults a drill begins, and when it stops to."""

import random
import time
from typing import Any, cast

import pytest

from devstack.drill.director import LONG_S, SHORT_S, Director
from devstack.drill.faults import Fault, Scene


class Stage:
    """All that the director itself needs of a scene."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)


def directed(seed: int, pairs: float = 0.5) -> Director:
    async def strike(_: Any) -> None: ...

    faults = [
        Fault(f"fault {number}", strike, frozenset({f"part {number}"}), long=number % 2 == 0)
        for number in range(8)
    ]
    scene = cast("Scene", Stage(seed))
    return Director(scene, faults, pairs, (0, 0), lambda _: None)


@pytest.mark.parametrize("seed", range(5))
async def test_without_an_end_each_fault_is_struck_once(seed: int):
    director = directed(seed)

    await director.run(None)

    struck = [name for episode in director.episodes for name in episode.names]
    assert sorted(struck) == [f"fault {number}" for number in range(8)]
    assert director.left_out == ()


@pytest.mark.parametrize("seed", range(5))
async def test_a_fault_that_does_not_fit_into_the_time_left_is_not_begun(seed: int):
    none, short = directed(seed), directed(seed)

    await none.run(time.monotonic() + SHORT_S - 1)
    await short.run(time.monotonic() + SHORT_S + 0.05)

    assert none.episodes == []
    assert len(none.left_out) == 8
    struck = {name for episode in short.episodes for name in episode.names}
    assert struck
    assert struck <= {"fault 1", "fault 3", "fault 5", "fault 7"}
    assert set(short.left_out) >= {"fault 0", "fault 2", "fault 4", "fault 6"}
    assert LONG_S > SHORT_S
