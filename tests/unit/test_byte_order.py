"""Byte order marks at the beginning of a body."""

import pytest

from gateway.decoding.byte_order import NotUtf8Error, is_plain, skip_mark, undecided

BODY = '{"n":1}'


def test_a_mark_is_skipped_and_other_bodies_are_left_as_they_are():
    assert skip_mark(BODY.encode("utf-8-sig")) == BODY.encode()
    for body in (b"", b"{}", b" [1]", b"\n", "é".encode()):
        assert skip_mark(body) == body


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_other_encodings_are_named(encoding):
    body = BODY.encode(encoding)

    assert not is_plain(body)
    with pytest.raises(NotUtf8Error, match="UTF"):
        skip_mark(body)


def test_it_is_decided_as_early_as_can_be():
    assert undecided(b"")
    assert undecided(b"\xef\xbb")
    assert not undecided(b"{}\n")
    assert not undecided(b"\xef\xbb\xbf{")
    assert undecided(b"\xff\xfe")
