"""Faults of form are the same however a number is written; a short body takes a shorter way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.submitting.task_request import parse
from tests.support.memory import most_held

EXPONENTS = ["", "e2", "e300", "E+0308", "e299", "e-300", "E-0320", "e999", "e-999", "e22", "e-280"]
DIGITS = ["1", "-1", "0", "0.5", "12345678901234567890", "0." + "0" * 30 + "1"]
numbers = st.builds(str.__add__, st.sampled_from(DIGITS), st.sampled_from(EXPONENTS))
quoted = st.builds('"{}"'.format, st.one_of(numbers, st.sampled_from(["a", "x1e300"])))
values = st.one_of(numbers, quoted, st.sampled_from(["[]", "{}", "null", "[1e300]"]))
members = st.sampled_from(
    ["countdown", "expires", "time_limit", "priority", "headers", "x1e300", "xe22"]
)
objects = st.lists(st.tuples(members, values), max_size=1).map(
    lambda pairs: "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"
)
bodies = st.one_of(
    values,
    st.builds('{{"task":{},"options":{}}}'.format, st.one_of(quoted, numbers), objects),
    st.builds('{{"task":"a","args":{},"x{}":1}}'.format, values, numbers),
)


def outcome(body: bytes) -> object:
    try:
        return repr(parse(body))
    except Problem as problem:
        return problem.code, [fault.at for fault in problem.faults]


@given(bodies)
def test_a_short_body_is_read_as_a_long_one(body):
    short = body.encode()

    assert len(short) < 256
    assert outcome(short) == outcome(short + b" " * 256)


def refusal(body: bytes) -> Problem:
    with pytest.raises(Problem) as refused:
        parse(body)
    return refused.value


def test_long_names_of_refused_bodies_are_cut_and_not_kept():
    names = [f"{n:02}" + "x" * 500_000 for n in range(20)]
    with most_held() as held:
        for name in names:
            outcome(b'{"task":"a","%b":1}' % name.encode())

        assert held() < 4 * len(names[0])
    at_root, inside = (
        refusal(body % names[0].encode())
        for body in (b'{"task":"a","%b":1}', b'{"task":"a","options":{"%b":1}}')
    )
    cut = names[0][:200] + "…"
    assert at_root.detail == f"$.{cut}: Object contains unknown field `{cut}`"
    assert inside.faults[0].at == f"$.options.{cut}"
    assert len(refusal(b'{"task":"a","%b - at `$":1}' % names[0].encode()).detail) < 600
    assert len(refusal(b'{"task":"a"," - at `$%b":1}' % names[0].encode()).detail) < 600
