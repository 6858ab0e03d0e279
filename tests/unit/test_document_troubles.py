"""What workers note of documents that wait or were refused, and what is a problem of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.operating.document_problems import of_documents
from penstock.wire.document_troubles import (
    MOST_COLLECTIONS,
    Refused,
    Troubles,
    Waits,
    decode_troubles,
)
from penstock.worker import document_troubles as noted

NOW = 1_000_000.0


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    noted.forget()
    yield
    noted.forget()


def waiting(*, since: float, last: float, seen: float = 1, **more: Any) -> Troubles:
    """`since`, `last` and `seen` are seconds ago."""
    waits = Waits(since=NOW - since, last=NOW - last, words="no", batch="b", **more)
    return Troubles(seen=NOW - seen, waits={"papers": waits})


def codes(*troubles: Troubles) -> list[str]:
    return [one.code for one in of_documents(troubles, NOW)]


@pytest.mark.parametrize(
    ("troubles", "waits"),
    [
        ([waiting(since=20, last=1)], True),
        ([waiting(since=10, last=1)], False),
        ([waiting(since=20, last=10)], False),  # MongoDB was away for 10 s, and nothing since
        ([waiting(since=16, last=10), waiting(since=9, last=0)], True),  # by turns
        ([waiting(since=300, last=200)], True),  # it is tried again after 5 minutes
        ([waiting(since=300, last=280)], False),  # it was, with success, by another process
        ([waiting(since=20, last=1, seen=20)], False),  # that process is gone
        ([waiting(since=20, last=2), Troubles(seen=NOW, stored={"papers": NOW - 1})], False),
        ([waiting(since=20, last=1), Troubles(seen=NOW, stored={"papers": NOW - 2})], True),
        ([waiting(since=20, last=1), Troubles(seen=NOW, stored={"others": NOW})], True),
        (
            [
                waiting(since=20, last=2, lasting=True),
                Troubles(seen=NOW, stored={"papers": NOW - 1}),
            ],
            True,
        ),
    ],
)
def test_documents_wait_that_are_refused_again_and_again(troubles: list[Troubles], *, waits: bool):
    assert codes(*troubles) == ["documents-waiting"] * waits


def test_documents_that_were_refused_are_a_problem_of_their_collection_for_a_while():
    def refused(ago: float, reason: str) -> Refused:
        return Refused(since=0, last=NOW - ago, documents=3, reason=reason, batch="b")

    one = Troubles(seen=0, refused={"papers": refused(30, "old"), "long ago": refused(700, "no")})
    [found] = of_documents([one, Troubles(refused={"papers": refused(20, "new")})], NOW)

    assert (found.code, found.subject) == ("documents-refused", "papers")
    assert "stored: 6, the last 20 s ago: new (batch b)" in found.detail


def test_what_was_noted_is_read_as_it_was_written():
    noted.waits("papers", "no", "b", lasting=False)
    noted.refused("papers", 2, "never", "c")

    [read] = decode_troubles([noted.troubles.encode(), "nonsense", "{}", "[1]"])

    assert read == noted.troubles
    noted.stored("papers")
    noted.stored("others")
    assert not noted.troubles.waits
    assert list(noted.troubles.stored) == ["papers"]


def test_the_success_of_others_says_nothing_of_a_document_that_is_refused_alone():
    noted.waits("papers", "no", "b", lasting=True)
    noted.stored("papers")

    assert list(noted.troubles.waits) == ["papers"]


def test_of_many_collections_those_of_late_are_noted():
    for number in range(2 * MOST_COLLECTIONS):
        noted.refused(f"papers{number}", 1, "no", "b")

    assert len(noted.troubles.refused) == MOST_COLLECTIONS
    assert f"papers{2 * MOST_COLLECTIONS - 1}" in noted.troubles.refused


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            "E11000 duplicate key error collection: db.papers index: mail_1 dup key: { mail: 'x' }",
            "E11000 duplicate key error collection: db.papers index: mail_1",
        ),
        ("Can't extract geo keys: { _id: 1, secret: 2 }  out of bounds", "Can't extract geo keys"),
        ("Document failed validation: n: minimum 0: comparison failed (-1); m: lacks x",
         "Document failed validation: n: minimum 0: comparison failed"),
        ("MongoDB: not authorized on a to execute command { insert: 1 }, full error: {}",
         "MongoDB: not authorized on a to execute command"),
    ],
)  # fmt: skip
def test_what_all_tenants_may_read_has_no_values_of_documents(words: str, shown: str):
    assert noted.without_values(words) == shown
