"""Medians, spreads, ratios: what the bench's words rest on."""

import pytest

from bench.figures import Figure, difference, paired, percentile


def test_a_figure_is_the_median_with_the_lowest_and_the_highest_round():
    assert Figure.of([5, 1, 3]) == Figure(3, 1, 5)


def test_the_median_of_an_even_number_of_rounds_lies_between_the_middle_two():
    assert Figure.of([4, 1, 2, 3]).median == 2.5


def test_a_figure_of_no_rounds_is_refused():
    with pytest.raises(ValueError, match="no rounds"):
        Figure.of([])


def test_a_ratio_is_taken_round_by_round():
    # The second round was half as fast for both: the ratio does not notice.
    assert paired([100, 50], [200, 100]) == Figure(0.5, 0.5, 0.5)


def test_a_difference_is_taken_round_by_round():
    assert difference([30, 60], [10, 40]) == Figure(20, 20, 20)


def test_rounds_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        paired([1, 2], [1])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_the_smallest_value_that_covers_the_share(share, expected):
    assert percentile(list(range(1, 101)), share) == expected


def test_a_percentile_of_few_values_is_one_of_them():
    assert percentile([7.0, 9.0], 0.99) == 9.0
