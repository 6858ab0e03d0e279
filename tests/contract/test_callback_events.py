"""The message of a callback: the worker's bytes are what the gateway reads."""

import json

from gateway.endings.callback_events import event_of, parse_event
from penstock.worker.ending.callbacks import event_of as workers_event_of


def test_the_workers_event_is_the_gateways():
    headers = {"x-penstock-callback": "http://x/", "x-penstock-replay": 2, "task": "demo.add"}
    theirs = workers_event_of("an-id", "demo.add", "FAILURE", headers)

    parsed = parse_event(json.dumps(theirs).encode(), {})
    assert parsed is not None
    assert parsed == event_of("an-id", "FAILURE", headers)
