"""Flaws that a parser lets through, found in the text of JSON: against a walk over its values."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.decoding.json_text import find_flaw, is_finite, is_plain, windows
from gateway.decoding.steps import at_once

PIECES = st.sampled_from(["a", "$", '"', "\\", "\x00", "{", "[", ",", ":", "1", "é", " " * 9])
TEXT = st.lists(PIECES, max_size=8).map("".join)
NUMBERS = st.sampled_from(
    ["1", "-1", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
     "-9223372036854775809", "1e308", "1e309", "-1E+999", "1e-400", "0." + "1" * 40, "1" * 60,
     "-" + "9" * 25, "1" * 250 + "e99", "1" * 320 + ".5", "12345678901234567890e5"]
)  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> str:
    """JSON with every kind of flaw, as text: Python would not write all of it."""
    space = draw(st.sampled_from(["", "", " ", "\n\t  ", " " * 40]))
    escape = draw(st.booleans())

    def string(value: str) -> str:
        text = json.dumps(value, ensure_ascii=escape)
        return text.replace("$", "\\u0024") if escape and draw(st.booleans()) else text

    def value(levels: int) -> str:
        kind = draw(st.integers(0, 5 if levels else 3))
        if kind == 0:
            return draw(NUMBERS)
        if kind <= 2:
            return string(draw(TEXT))
        if kind == 3:
            return draw(st.sampled_from(["true", "null", "[]", "{}"]))
        members = [value(levels - 1) for _ in range(draw(st.integers(0, 4)))]
        comma = f"{space},{space}"
        if kind == 4:
            return f"[{space}{comma.join(members)}{space}]"
        named = (f"{string(draw(TEXT))}{space}:{space}{one}" for one in members)
        return f"{{{space}{comma.join(named)}{space}}}"

    deep = draw(st.integers(0, 8))
    return "[" * deep + value(3) + "]" * deep


def walk_over(value: object, levels: int, *, keys: bool) -> set[str]:
    """The kinds of flaws in a value; numbers are texts that know what they were."""
    match value:
        case list() | tuple():
            found = set() if levels else {"deep"}
            for member in value:
                if isinstance(value, tuple):
                    name, inner = member
                    if keys and name.startswith("$"):
                        found.add("dollar-key")
                    if keys and "\x00" in name:
                        found.add("nul-key")
                else:
                    inner = member
                found |= walk_over(inner, max(levels - 1, 0), keys=keys)
            return found
        case int() if not isinstance(value, bool):
            return {"integer"} if keys and not -(1 << 63) <= value < 1 << 63 else set()
        case float() if math.isinf(value):
            return {"number"}
    return set()


@given(texts(), st.booleans(), st.sampled_from([16, 40, 200, 1 << 16]))
@example('["$a",{"b":"$c"},{"\\\\$":1}]', True, 16)
@example('{"' + "$" + "a" * 100 + '"' + " " * 100 + ":1}", True, 16)
@example('{"a":' + "1" * 100 + ',"b\\u0000":1}', True, 16)
def test_flaws_are_those_of_a_walk(text, keys, window_bytes):
    levels = 7
    value = json.loads(text, object_pairs_hook=tuple)
    expected = walk_over(value, levels, keys=keys)

    flaw = at_once(find_flaw(text.encode(), levels, keys=keys, window_bytes=window_bytes))

    assert (flaw is not None) == bool(expected)
    assert flaw is None or flaw.kind in expected
    if expected - {"deep"}:
        assert not is_plain(text.encode())


@given(texts(), st.integers(8, 100))
def test_windows_are_the_whole_text_and_cut_no_string(text, window_bytes):
    octets = text.encode()
    parts = [part for part, _ in windows(octets, window_bytes)]

    assert b"".join(parts) == octets
    for part in parts:
        unescaped = part.replace(b"\\\\", b"").replace(b'\\"', b"")
        assert unescaped.count(b'"') % 2 == 0


@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 1, 200_000])
@pytest.mark.parametrize("filler", ['"a"', "1", "[]", '"\\\\\\""', '{"$":1}', "1" * 19])
def test_a_flaw_behind_much_else_is_found(size, filler):
    sound = filler if "$" not in filler else '"$"'
    text = "[" + ",".join([sound] * (size // len(sound))) + ',{"x":[1e999]}]'

    flaw = at_once(find_flaw(text.encode(), 100, keys=True))

    assert flaw is not None
    assert flaw.kind == "number"


@given(texts())
@example("[" + "9" * 309 + "]")
@example("[1e999]")
def test_a_text_is_finite_where_pythons_decoder_finds_no_infinity(text: str) -> None:
    found: list[float] = []

    def read(digits: str) -> float:
        found.append(float(digits))
        return found[-1]

    json.loads(text, parse_float=read)
    assert is_finite(text.encode()) is not any(map(math.isinf, found))
