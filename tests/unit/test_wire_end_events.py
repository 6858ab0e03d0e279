"""The message that announces the end of a task to its callback."""

import json

import pytest

from gateway.endings.callback_events import parse_event
from penstock.wire.end_events import end_event
from penstock.wire.headers import CALLBACK_HEADER, REPLAY_HEADER


def test_what_a_worker_publishes_is_what_the_gateway_delivers():
    headers = {CALLBACK_HEADER: "http://x/", REPLAY_HEADER: 2}
    body = json.dumps(end_event("an-id", "demo.add", "FAILURE", headers)).encode()

    event = parse_event(body, {})
    assert event is not None
    assert (event.id, event.task, event.state, event.url) == (
        "an-id", "demo.add", "FAILURE", "http://x/"
    )  # fmt: skip
    assert event.event == "2a146ec4-c77b-5921-962b-6d093daceae7"  # as in every release


@pytest.mark.parametrize("headers", [{}, {CALLBACK_HEADER: None}, {CALLBACK_HEADER: 7}])
def test_without_a_callback_there_is_no_message(headers: dict[str, object]):
    assert end_event("an-id", None, "SUCCESS", headers) is None
