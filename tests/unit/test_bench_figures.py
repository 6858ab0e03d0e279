"""Medians, spreads, ratios: what the bench's words rest on."""

import asyncio
import os

import pytest

from bench.figures import Figure, difference, paired, percentile
from bench.usage import peak_rss_bytes, rss_bytes
from bench.watched import Growth, Moment, growth, watched
from tests.support.waiting import eventually


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


def test_growth_is_of_the_last_tenth_over_the_second():
    moments = [Moment(at_s=n, rss_mb=100 + n, descriptors=30 + n // 50) for n in range(100)]

    assert growth(moments) == Growth(rss=194.5 / 114.5, descriptors=1)


def test_too_short_a_time_says_nothing_of_growth():
    with pytest.raises(ValueError, match="9 moments"):
        growth([Moment(at_s=n, rss_mb=1, descriptors=1) for n in range(9)])


async def test_a_process_is_looked_at_until_its_work_is_done():
    async with watched(os.getpid(), 0.001) as moments:
        await eventually(lambda: len(moments) > 2)

    assert "watched" not in {task.get_name() for task in asyncio.all_tasks()}
    assert moments[0].rss_mb > 10
    assert moments[-1].descriptors > 2


def test_the_peak_of_a_process_is_no_less_than_what_it_has():
    assert peak_rss_bytes(os.getpid()) >= rss_bytes(os.getpid()) - 4096 * 1024
