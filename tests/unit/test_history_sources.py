import json

import pytest

from history.sources import told
from history.sources.events import facts_of as event_facts
from history.sources.records import facts_of, members_of
from history.writing.cleaning import clean

RECORD = {
    "cursor": "5-0", "first": "4-0", "status": "SUCCESS", "task_id": "t", "name": "a.b",
    "retries": 0, "started_at": "2026-01-31T12:00:00.123456+00:00", "queue": "q", "tenant": "acme",
    "traceback": None, "result": {"x": "y" * 100},
}  # fmt: skip


@pytest.mark.parametrize("cut", range(20, len(json.dumps(RECORD))))
def test_of_a_record_that_is_cut_off_every_whole_member_is_read(cut):
    members, whole = members_of(json.dumps(RECORD).encode()[:cut])

    assert not whole
    assert members.items() <= RECORD.items()


def test_a_packed_record_tells_both_changes():
    facts = facts_of("t", RECORD, [])

    assert [(one.cursor, one.state) for one in facts.changes] == [
        ("4-0", "STARTED"),
        ("5-0", "SUCCESS"),
    ]
    assert facts.started_at
    assert (facts.queue, facts.tenant, facts.started_at.microsecond) == ("q", "acme", 123000)


def test_the_parts_of_a_body_stay_to_the_letter():
    body = ' [ [1.10, "]"] , {"a": [2]}, {"chord": {"x": 1}, "chain": [3], "callbacks": null} ]'

    parts = told.parts_of(body)

    assert parts
    assert parts[:2] == ('[1.10, "]"]', '{"a": [2]}')
    assert told.without_chord(parts[2]) == '{"chain": [3]}'
    assert told.parts_of("{}") is None
    assert told.parts_of("[[1], {}") is None


CHAIN = '"chain":[{"task": "t", "args":[12345678901234567890123, 1.10, "\\ud800", NaN]}]'


@pytest.mark.parametrize(
    ("embed", "kept"),
    [
        (f'{{ "callbacks" :null, {CHAIN} , "chord": {{"x":NaN}}, "errbacks":[] }}', f"{{{CHAIN}}}"),
        (f'{{"chord":{{"chain":[1]}},{CHAIN}}}', f"{{{CHAIN}}}"),
        ('{"callbacks":null,"errbacks":null,"chain":null,"chord":{"task":"t"}}', ""),
        ("{}", ""),
        ("null", ""),
        ('{"chain":[1]', '{"chain":[1]'),  # none of these is "nothing follows"
        ("[1]", "[1]"),
        ('{"chain":[1' + "0" * 5_000 + "]}", '{"chain":[1' + "0" * 5_000 + "]}"),
    ],
)
def test_what_follows_a_task_stays_to_the_letter_but_for_its_chord(embed, kept):
    assert told.without_chord(embed) == kept


def test_what_follows_an_accepted_task_or_a_dead_letter_is_kept_to_the_letter():
    body = f'[[1], {{}}, {{"callbacks": null, {CHAIN}, "chord": null}}]'
    entry = {"id": "t", "task": "a.b", "body": body}
    [asked] = told.requests([("1-0", {b"r": json.dumps(entry).encode()})])
    [waiting] = told.accepted([("1-0", {b"a": json.dumps([entry]).encode()})])

    assert asked.request
    assert waiting.request
    assert asked.request.embed == waiting.request.embed == f"{{{CHAIN}}}"


def test_malformed_entries_are_left_out():
    entries = [
        ("1-0", {b"a": b"no json"}),
        ("2-0", {}),
        ("3-0", {b"a": b'[1,{"id":2},{"id":"t"}]'}),
    ]

    assert [one.task_id for one in told.accepted(entries)] == ["t"]
    assert told.requests([("1-0", {b"r": b"[]"}), ("2-0", {b"r": b"\xff"})]) == []


def test_events_say_the_states_and_the_error():
    common = {"uuid": "t", "hostname": "stock@h", "timestamp": 1000.5}
    sent = event_facts(
        [
            {"type": "task-received", "name": "a.b", **common},
            {
                "type": "task-failed",
                "exception": "ValueError('bad row')",
                "traceback": "T",
                **common,
            },
            {"type": "task-rejected", **common},
            {"type": "task-started", "uuid": 5, "timestamp": 1},
            {"type": "worker-heartbeat"},
        ]
    )

    assert [one.task for one in sent] == ["a.b", None]
    assert sent[1].changes[0].state == "FAILURE"
    assert sent[1].error
    assert (sent[1].error.kind, sent[1].error.message) == ("ValueError", "bad row")
    assert sent[1].source == "events"


def test_what_bson_refuses_is_made_storable():
    assert clean({"a\0b": "\ud800", "n": 1 << 70, "l": (1, {"x": True})}) == {
        "ab": "?", "n": str(1 << 70), "l": [1, {"x": True}],
    }  # fmt: skip
