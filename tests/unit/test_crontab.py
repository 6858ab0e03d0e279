"""Crontab fields: what is taken, and why the rest is refused."""

import pytest

from penstock.wire.crontab import parse_field

TAKEN = [
    ("minute", "*", set(range(60))),
    ("minute", "*/15", {0, 15, 30, 45}),
    ("minute", "5", {5}),
    ("minute", "50-10/5", {50, 55, 0, 5, 10}),
    ("hour", "8-17", set(range(8, 18))),
    ("hour", "0,6,12-13", {0, 6, 12, 13}),
    ("day_of_week", "mon-fri", {1, 2, 3, 4, 5}),
    ("day_of_week", "Sunday,6", {0, 6}),
    ("day_of_month", "*/7", {1, 8, 15, 22, 29}),
    ("month_of_year", "nov-feb", {11, 12, 1, 2}),
]


@pytest.mark.parametrize(("name", "text", "numbers"), TAKEN)
def test_a_field_takes_numbers(name: str, text: str, numbers: set[int]):
    assert parse_field(name, text) == numbers


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("minute", ""), ("minute", "60"), ("minute", "-1"), ("minute", "*/0"), ("minute", "*/"),
        ("minute", "5/2"), ("minute", "1,,2"), ("minute", "a"), ("minute", "1-"), ("minute", " 5"),
        ("minute", "٣"), ("minute", "1.5"), ("minute", "* *"), ("hour", "24"), ("hour", "jan"),
        ("day_of_week", "7"), ("day_of_week", "jan"), ("day_of_month", "0"),
        ("month_of_year", "13"), ("month_of_year", "mon"), ("minute", "**"), ("minute", "99999"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(name: str, text: str):
    with pytest.raises(ValueError, match=r"."):
        parse_field(name, text)
