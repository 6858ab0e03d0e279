"""Arguments that hold a great many values: checked as far as a few milliseconds go."""

import contextlib
import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.submitting.beginnings import beginning
from tests.support.cost import YARDSTICK_MS, yardstick
from tests.unit.test_arguments_check import INTEGER, NUMBER, STRING, catalog, entry, param, refusal

_LISTS = {"type": "array", "items": {"type": "array", "items": INTEGER}}
_OBJECTS = {"type": "array", "items": {"type": "object", "additionalProperties": INTEGER}}
_NESTED = b"[" + b"[]," * 349_000 + b"[]]"
_NAMED = b"{" + b",".join(b'"k%d":1' % number for number in range(95_000)) + b"}"


@pytest.mark.parametrize(
    ("parameter", "args", "kwargs"),
    [
        (param("x", _LISTS), b"[%b]" % _NESTED, b"{}"),
        (param("x", _LISTS), b"[]", b'{"x":%b}' % _NESTED),
        (param("x", _OBJECTS), b"[%b]" % _NESTED.replace(b"[],", b"{},"), b"{}"),
        (
            param(
                "x", {"anyOf": [_LISTS, {"type": "array", "items": {**_LISTS, "items": STRING}}]}
            ),
            b"[%b]" % _NESTED,
            b"{}",
        ),
        (param("x", {"type": "array", "items": NUMBER}), b"[[%b1]]" % (b"1e5," * 262_000), b"{}"),
        (
            param("x", _LISTS, "var_positional"),
            b"[%b[]]" % (_NESTED[:1023] + b"[]],") * 1000,
            b"{}",
        ),
        (param("x", INTEGER, "var_positional"), b"[%b1]" % (b"1," * 524_000), b"{}"),
        (param("x", INTEGER, "var_keyword"), b"[]", _NAMED),
        (param("x", INTEGER, required=False), b"[]", _NAMED),
    ],
    ids=["lists", "by name", "objects", "a union", "floats", "*lists", "*", "**", "unknown names"],
)
def test_a_great_many_values_take_no_longer_than_a_few(parameter, args, kwargs):
    made = catalog(entry("demo.add", parameter))
    unit_s = yardstick()
    spent = []
    for _ in range(3):
        raw = msgspec.Raw(args), msgspec.Raw(kwargs)
        started = time.thread_time()
        with contextlib.suppress(Problem):
            made.check("demo.add", *raw)
        spent.append(time.thread_time() - started)

    assert min(spent) / unit_s * YARDSTICK_MS < 10


@pytest.mark.parametrize(
    ("args", "kwargs", "at"),
    [
        (f"[[{'[1],' * 50_000}[1]],true]", "{}", "$.args[1]"),
        (f"[[{'[1],' * 50_000}[1]]]", "{}", "$.kwargs.y"),
        (f"[[[true],{'[1],' * 50_000}[1]],1]", "{}", "$.args[0][0][0]"),
        ("[]", f'{{"x":[{"[1]," * 50_000}[1]],"y":true}}', "$.kwargs.y"),
        ("[]", f'{{"x":[{"[1]," * 50_000}[1]]}}', "$.kwargs.y"),
        ("[]", f'{{"x":[[true],{"[1]," * 50_000}[1]],"y":1}}', "$.kwargs.x[0][0]"),
        ("[[],1]", f'{{"z":[{"[1]," * 50_000}[1]]}}', "$.kwargs.z"),
        ("[]", f'{{"x":[{"[1]," * 50_000}[1]],"y":1,"z":0}}', "$.kwargs.z"),
        ("[[],1]", f'{{"z":"{"a" * 100_000}"}}', "$.kwargs.z"),
        ("[]", f'{{"x":[{"[1]," * 50_000}[1]],"y":1,"":0}}', "$.kwargs."),
        ("[[],1]", f'{{"{"z`" * 50_000}":0}}', f"$.kwargs.{'z`' * 100}…"),
    ],
)
def test_a_long_argument_hides_no_fault_of_another(args, kwargs, at):
    made = catalog(entry("demo.add", param("x", _LISTS), param("y", INTEGER)))

    assert [fault.at for fault in refusal(made, args, kwargs).faults] == [at]


def test_a_keyword_that_one_of_two_releases_knows_is_taken_behind_a_long_argument():
    made = catalog(
        entry("demo.add", param("x", STRING)),
        entry("demo.add", param("x", STRING), param("z", INTEGER, required=False)),
    )
    text = "a" * 100_000

    made.check("demo.add", b"[]", f'{{"x":"{text}","z":1}}'.encode())
    assert refusal(made, "[]", f'{{"x":"{text}","z":true}}').faults
    assert refusal(made, "[]", f'{{"x":"{text}","y":1}}').faults


def test_what_fits_is_taken_however_long_it_is():
    made = catalog(entry("demo.add", param("x", _LISTS), param("y", STRING)))
    numbers = f"[{'[1],' * 50_000}[1]]"
    text = json.dumps('a, "[{,\\' * 50_000)

    made.check("demo.add", f"[{numbers},{text}]".encode(), b"{}")
    blank = " " * 40_000
    made.check("demo.add", f"[{blank}[[1]]]".encode(), f'{{{blank}"y":"a"}}'.encode())
    made.check("demo.add", b"[]", f'{{"x":{numbers},"y":{text}}}'.encode())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_JSON, st.integers(1, 60))
def test_the_beginning_of_a_value_is_one_of_the_same_type_with_fewer_in_it(value, most):
    whole = json.dumps(value).encode()
    found = json.loads(beginning(whole, most))

    assert type(found) is type(value)
    if isinstance(value, list):
        assert found[:-1] == value[: len(found)][:-1]
    elif isinstance(value, dict):
        assert list(found) == list(value)[: len(found)]
