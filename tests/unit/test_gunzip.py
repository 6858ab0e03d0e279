"""Gzip bodies: expanded in pieces, bounded by what they cost as well as by what they hold."""

import gzip
import random
import zlib

import pytest

from gateway.decoding.gunzip import BadGzipError, Gunzip

EMPTY = gzip.compress(b"")


def expand(body: bytes, chunk_bytes: int = 1 << 16) -> list[bytes]:
    gunzip = Gunzip(1000)
    pieces = [
        piece
        for start in range(0, len(body), chunk_bytes)
        for piece in gunzip.feed(body[start : start + chunk_bytes])
    ]
    gunzip.end()
    return pieces


@pytest.mark.parametrize("chunk_bytes", [1, 17, 1 << 16])
def test_members_are_joined_and_pieces_bounded(chunk_bytes):
    text = random.Random(1).randbytes(3000) * 3
    body = gzip.compress(text) + EMPTY + gzip.compress(b"more")

    pieces = expand(body, chunk_bytes)

    assert b"".join(pieces) == text + b"more"
    assert max(map(len, pieces)) <= 1000


def test_a_member_for_each_line_is_fine():
    line = b'{"sensor":"roof","value":21.5,"at":"2026-01-01T00:00:00Z","n":1}\n'

    assert b"".join(expand(gzip.compress(line) * 5000)) == line * 5000


def flushed(line: bytes, count: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(line) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(count)]
    return b"".join([*pieces, packer.flush()])


def test_lines_flushed_one_by_one_are_fine():
    assert b"".join(expand(flushed(b'{"n":1}\n', 20_000))) == b'{"n":1}\n' * 20_000


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (EMPTY * 2000, "members"),
        (gzip.compress(b"\n") * 5000, "members"),
        (flushed(b"", 20_000)[:10] + b"\x00\x00\x00\xff\xff" * 20_000, "much less"),
        (b"no gzip", "incorrect header"),
        (gzip.compress(b"x" * 1000)[:-3], "too early"),
        (gzip.compress(b"x") + b"rest", "incorrect header"),
    ],
    ids=["empty members", "tiny members", "empty blocks", "none", "cut", "rest"],
)
def test_what_is_not_worth_its_work_is_refused(body, reason):
    with pytest.raises(BadGzipError, match=reason):
        expand(body)
