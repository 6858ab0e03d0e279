"""What people see of arguments: short, and quick to make, whatever was sent."""

import time
import uuid
from typing import Any

import pytest

from penstock.wire.shown_arguments import MOST, shown

DEEP: Any = []
for _ in range(90):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, "a", None, 1.5, True], "[1, 'a', None, 1.5, True]"),
        ((), "[]"),
        ({"day": "x", "n": [1]}, "{'day': 'x', 'n': [1]}"),
        (["x" * 101], f"['{'x' * 100}'…]"),
        (list(range(10**5)), "[0, 1, 2, 3, 4, 5, 6, 7, …]"),
        (
            dict.fromkeys(map(str, range(10**5)), 0),
            "{" + ", ".join(f"'{n}': 0" for n in range(8)) + ", …}",
        ),
        (DEEP, "[[[[…]]]]"),
        ([10**5000], "[<a large integer>]"),
        ([uuid.UUID(int=1)], "[UUID('00000000-0000-0000-0000-000000000001')]"),
        ([b"\0" * 200], f"[{bytes(100)!r}…]"),
    ],
)
def test_arguments_are_written_short(value: Any, text: str):
    began = time.thread_time()

    assert shown(value) == text[:MOST]
    assert time.thread_time() - began < 0.02


def test_the_whole_is_bounded():
    wide = {str(n) * 90: [["x" * 90] * 9] * 9 for n in range(9)}

    assert len(shown(wide)) == MOST
