"""How long nothing happened, in the figures of a drill of clusters."""

import pytest

from devstack.cluster.drill import longest_gap


@pytest.mark.parametrize(
    ("times", "gap_s"),
    [
        ([9, 11, 12, 19, 21], 7),
        ([21, 19, 12, 11, 9], 7),
        ([5, 11, 20], 9),
        ([2, 19], 17),  # the gap began before
        ([9, 12, 60], 48),  # and goes on afterwards
        ([], 10),
        ([9], 11),
    ],
)
def test_the_longest_gap_reaches_over_the_ends_of_its_window(times: list[float], gap_s: float):
    assert longest_gap(times, began=10, healed=20) == gap_s
