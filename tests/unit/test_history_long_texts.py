"""Texts of others, as long and as odd as they like: twice as long costs about twice as much."""

import time
from collections.abc import Callable

import pytest

from history.config import DEFAULT_MASK
from history.grouping import place, without_particulars
from history.sources.events import facts_of
from history.writing.facts import MAX_MESSAGE_CHARS, MAX_TRACEBACK_CHARS, MAX_TYPE_CHARS, Error
from history.writing.masking import Mask
from history.writing.merging import Merger

MASK = Mask(DEFAULT_MASK)
MERGER = Merger(MASK, 7)
FRAME = '  File "/srv/a.py", line 7, in build\n    raise ValueError(text)\n'


def failed(exception: str, traceback: str):
    event = {"type": "task-failed", "uuid": "t", "timestamp": 1000.5, "hostname": "stock@h"}
    [facts] = facts_of([{**event, "exception": exception, "traceback": traceback}])
    return facts


def merged(exception: str, traceback: str):
    return MERGER.merged(None, failed(exception, traceback))


def cost(work: Callable[[], object]) -> float:
    """Processor seconds: the least of three."""

    def once() -> float:
        started = time.thread_time()
        work()
        return time.thread_time() - started

    return min(once() for _ in range(3))


@pytest.mark.parametrize(
    ("look", "most"),
    [
        (lambda n: place("\n" * n), 40_000),
        (lambda n: place(" " * n + "\n" + " " * n), 40_000),
        (lambda n: place('File "' * n), 50_000),
        (lambda n: without_particulars("“‘«" * n), 1_200),
        (lambda n: without_particulars("a" * n + "-" + "0" * n), 2_000),
        (lambda n: without_particulars("a0" * n + "z"), 2_000),
        (lambda n: without_particulars("a" * n + " " + "0" * n), 2_000),
        (lambda n: MASK.apply('"' + '\\"' * n), 10_000),
        (lambda n: merged("ValueError('" + ")" * n, "\n" * n), 40_000),
        (lambda n: merged("(" * n + ") " * n, "x" * n), 40_000),
    ],
)
def test_eight_times_as_long_is_no_more_than_some_twenty_times_the_work(look, most):
    few = cost(lambda: look(most // 8))
    many = cost(lambda: look(most))

    assert many < max(20 * few, 0.003)  # of what goes with the square, 64


def test_of_what_a_stock_worker_says_as_much_is_taken_as_is_kept():
    task = merged("E" * 300 + "('" + "x" * 50_000 + "')", FRAME * 2_000)["error"]

    assert task["type"] == "E" * MAX_TYPE_CHARS
    assert task["message"] == "x" * MAX_MESSAGE_CHARS
    assert len(task["traceback"]) == MAX_TRACEBACK_CHARS
    event = {"type": "task-received", "uuid": "t", "timestamp": 1000.5, "hostname": "h" * 10_000}
    [facts] = facts_of([{**event, "name": "n" * 10_000}])
    assert len(facts.task or "") == 512


@pytest.mark.parametrize("exception", ["ValueError('{}')", "ValueError('{}',)"])
def test_a_long_message_is_of_the_type_that_it_is_of(exception):
    [short, long] = [failed(exception.format("x" * length), "T").error for length in (10, 50_000)]

    assert short
    assert long
    assert (short.kind, short.message) == ("ValueError", "x" * 10)
    assert (long.kind, long.message) == ("ValueError", "x" * MAX_MESSAGE_CHARS)


def test_behind_a_long_message_the_places_stay():
    long = "x" * 100_000
    error = Error(kind="E", message=long, traceback=f"{FRAME}ValueError: {long}\n")

    assert place(error.traceback or "") == "/srv/a.py:build"
    assert len(error.traceback or "") < 2_000
