"""When the results of a tenant are gone, and when it is within its quota again."""

import pytest

from penstock.wire.kept_results import gone_by, room_in_s

NOW = 1_800_000_000.5


@pytest.mark.parametrize("keep_s", [1, 10, 23, 24, 3600, 86_400, 366 * 86_400])
def test_a_result_is_gone_at_the_end_of_its_part_of_the_time(keep_s: int):
    later = [gone_by(NOW + second * keep_s / 1000, keep_s) for second in range(1000)]

    assert all(
        keep_s < gone - NOW - second * keep_s / 1000 <= keep_s + max(1, keep_s // 24) + 1
        for second, gone in enumerate(later)
    )
    assert len(set(later)) <= 26


@pytest.mark.parametrize(
    ("kept", "seconds"),
    [
        ({}, 0),
        ({10: 100}, 0),
        ({10: 101}, 10),
        ({-1: 1000, 0: 1000}, 0),
        ({30: 60, 10: 60, 20: 60}, 20),
        ({30: 101, 10: 60, 20: 60}, 30),
        ({10: 20, 20: 60, 30: 60}, 20),
    ],
)
def test_there_is_room_when_enough_is_gone(kept: dict[int, int], seconds: int):
    at = {int(NOW) + second: size for second, size in kept.items()}

    assert room_in_s(at, 100, NOW) == seconds
