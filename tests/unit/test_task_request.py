"""What a submit's body may say, and where each fault is."""

import json
import math
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.submitting.start_times import times
from gateway.submitting.task_request import MAX_DELAY_S, Options, check_form, parse

NOW = 1_800_000_000.0


def refusal(body: bytes) -> tuple[str, list[str]]:
    with pytest.raises(Problem) as caught:
        parse(body)
    assert caught.value.queued == "no"
    return caught.value.code, [fault.at for fault in caught.value.faults]


def test_only_the_task_is_required_and_arguments_stay_raw():
    assert parse(b'{"task": "t"}').task == "t"
    request = parse(b'{"task": "t", "args": [ 1,  2.50 ], "kwargs": {"a" : 1}}')

    assert bytes(request.args) == b"[ 1,  2.50 ]"
    assert bytes(request.kwargs) == b'{"a" : 1}'


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b"{}", "$.task"),
        (b'{"task": 1}', "$.task"),
        (b'{"task": ""}', "$.task"),
        (b'{"task": "t", "extra": 1}', "$.extra"),
        (b'{"task": "t", "args": {}}', "$.args"),
        (b'{"task": "t", "kwargs": []}', "$.kwargs"),
        (b"[]", "$"),
        (b'{"task": "t", "options": {"nope": 1}}', "$.options.nope"),
        (b'{"task": "t", "options": {"priority": 10}}', "$.options.priority"),
        (b'{"task": "t", "options": {"countdown": -1}}', "$.options.countdown"),
        (b'{"task": "t", "options": {"countdown": 31536001}}', "$.options.countdown"),
        (
            b'{"task": "t", "options": {"countdown": 1, "eta": "2030-01-01T00:00:00Z"}}',
            "$.options.eta",
        ),
        (b'{"task": "t", "options": {"queue": "q", "exchange": "e"}}', "$.options.queue"),
        (b'{"task": "t", "options": {"routing_key": "e"}}', "$.options.routing_key"),
        (
            b'{"task": "t", "options": {"exchange": "e", "routing_key": "%b"}}'
            % ("é" * 128).encode(),
            "$.options.routing_key",
        ),
        (b'{"task": "t", "options": {"headers": {"id": "x"}}}', "$.options.headers.id"),
        (b'{"task": "t", "options": {"headers": {"X-death": "x"}}}', "$.options.headers.X-death"),
        (b'{"task": "t", "options": {"headers": {"_children": 1}}}', "$.options.headers._children"),
        (b'{"task": "t", "options": {"headers": {"a": [1]}}}', "$.options.headers.a"),
        (
            b'{"task": "t", "options": {"time_limit": 1, "soft_time_limit": 2}}',
            "$.options.soft_time_limit",
        ),
    ],
)
def test_a_fault_of_form_is_named_with_its_place(body, at):
    assert refusal(body) == ("invalid-request", [at])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"task": "t"',
        b'{"task": "t"} trailing',
        b'{"task": "\xff"}',
        b'{"task": "t", "args": [1e999]}',
        b'{"task": "t", "args": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"task": "t", "args": ' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"task": "t", "args": [NaN]}',
        b'{"task": "t", "args": [' + b"1" * 400 + b".5]}",
        b'{"task": "t", "args": [' + b"1" * 5000 + b"]}",
        b"[1, 2",
        b'{"unknown": 1, "task": "t"',
        b"[" * 200_000 + b"]" * 200_000,
    ],
)
def test_what_is_not_json_is_malformed(body):
    assert refusal(body)[0] == "malformed-json"


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
def test_an_empty_body_is_said_to_be_empty(body):
    with pytest.raises(Problem) as caught:
        parse(body)

    assert (caught.value.code, caught.value.detail) == ("malformed-json", "the body is empty")


def test_digits_in_strings_and_long_integers_are_no_numbers_out_of_range():
    check_form(parse(json.dumps({"task": "t", "args": ["1" * 5000, int("9" * 4000)]}).encode()))


def test_brackets_in_strings_are_not_nesting():
    check_form(parse(json.dumps({"task": "t", "args": ["[" * 500, '"\\"[' * 300]}).encode()))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=30,
    )
)  # fmt: skip
def test_any_json_of_a_worker_is_an_argument(value):
    body = json.dumps({"task": "t", "args": [value]}).encode()

    assert json.loads(bytes(parse(body).args)) == [value]


@given(st.floats(0, MAX_DELAY_S))
def test_a_countdown_is_rounded_up_and_never_due_early(countdown):
    when = times(Options(countdown=countdown), NOW)

    assert when.delay_s == math.ceil(countdown)
    if when.delay_s:
        assert when.eta is not None
        assert datetime.fromisoformat(when.eta).timestamp() <= NOW + when.delay_s


@pytest.mark.parametrize("eta", ["2020-01-01T00:00:00Z", "2020-01-01t00:00:00.5z"])
def test_an_eta_in_the_past_runs_now(eta):
    assert times(Options(eta=eta), NOW).delay_s == 0


def test_a_delayed_message_has_no_amqp_expiration_but_the_header():
    when = times(Options(countdown=10, expires=60), NOW)

    assert when.expiration_ms is None
    assert when.expires is not None
    assert times(Options(expires=60), NOW).expiration_ms == 60_000


@pytest.mark.parametrize(
    "options",
    [
        Options(eta="tomorrow"),
        Options(eta="2030-01-01T00:00:00"),
        Options(eta=datetime.fromtimestamp(NOW + MAX_DELAY_S + 60, UTC).isoformat()),
        Options(expires=0),
        Options(expires=-5),
        Options(countdown=60, expires=30),
        Options(expires=(datetime.fromtimestamp(NOW, UTC) - timedelta(1)).isoformat()),
        Options(expires=1e300),
    ],
)
def test_times_that_make_no_sense_are_refused(options):
    with pytest.raises(Problem) as caught:
        times(options, NOW)
    assert caught.value.code == "invalid-request"


def test_a_plain_submit_costs_no_time_arithmetic():
    assert times(msgspec.convert({}, Options), time.time()).delay_s == 0
