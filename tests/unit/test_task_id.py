"""Ids that prove themselves."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.task_id import TaskIds

OLD, NEW = (1, b"o" * 32), (2, b"n" * 32)


def test_an_id_is_known_to_its_tenant_only():
    ids = TaskIds([NEW])
    text = ids.issue("acme")

    assert ids.verify(text, ["acme"]) is not None
    assert ids.verify(text, ["other"]) is None
    assert ids.verify(text, ["other", "acme"]) is not None


def test_an_old_key_still_verifies_and_an_unknown_one_does_not():
    text = TaskIds([OLD]).issue("acme")

    assert TaskIds([NEW, OLD]).verify(text, ["acme"]) is not None
    assert TaskIds([NEW]).verify(text, ["acme"]) is None


@given(st.integers(0, 2**28 - 1), st.booleans())
def test_an_id_says_when_it_was_issued_and_due(delay_s: int, tracked: bool):
    before = time.time()
    issued = TaskIds([NEW]).verify(
        TaskIds([NEW]).issue("a", tracked=tracked, delay_s=delay_s), ["a"]
    )

    assert issued is not None
    assert before - 0.001 <= issued.issued_at <= time.time()
    assert issued.tracked is tracked
    assert delay_s <= issued.due_by - issued.issued_at + 0.01 <= 2 * delay_s + 1


@given(st.integers(0, 56), st.integers(1, 16))
def test_no_changed_character_verifies(position: int, shift: int):
    ids = TaskIds([NEW])
    text = ids.issue("acme", delay_s=5)
    alphabet = "0123456789abcdef-"
    other = alphabet[(alphabet.index(text[position]) + shift) % len(alphabet)]

    assert ids.verify(text[:position] + other + text[position + 1 :], ["acme"]) is None


@pytest.mark.parametrize("text", ["", "x", "0" * 57, "é" * 57, "1" * 100_000])
def test_other_text_is_no_id(text: str):
    assert TaskIds([NEW]).verify(text, ["acme"]) is None


def test_ids_are_unique_and_sort_by_time():
    ids = TaskIds([NEW])
    issued = [ids.issue("acme") for _ in range(5000)]

    assert len(set(issued)) == 5000
    assert issued[0][:13] <= issued[-1][:13]
