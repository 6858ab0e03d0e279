"""Golden messages of real Celery against ours, field by field, but for `differences.toml`."""

import json
import time
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from kombu.connection import Connection

from tests.conformance.conftest import VERSIONS, Celery
from tests.conformance.generated import generated
from tests.conformance.kinds import CANVASES, CONTROLS, QUEUE, STAMPED, TASKS, timed
from tests.conformance.messages import differences, fields
from tests.deployment.gateway import Gateway
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.bare_vhost,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("version", VERSIONS),
]
LISTED = tomllib.loads(Path(__file__).with_name("differences.toml").read_text())["difference"]


async def published(http: Gateway, celery: Celery, kinds: dict[str, Any]) -> dict[str, Any]:
    """Submit each kind, and take its messages from the queue."""
    found = {}
    with Connection(celery.deployment.amqp_url) as connection:
        channel = connection.default_channel
        for name, kind in kinds.items():
            at, body = time.time(), timed(kind)
            path = "/v1/tasks" if "task" in body else "/v1/canvas"
            async with http.post(path, json=body) as answer:
                assert answer.status == 202, (name, await answer.text())
            raw = await eventually(lambda: channel.basic_get(QUEUE, no_ack=True), 10, 0.05)
            messages = [raw]
            while (raw := channel.basic_get(QUEUE, no_ack=True)) is not None:
                messages.append(raw)
            found[name] = [wire(one, at) for one in messages]
    return found


def wire(message: Any, at: float) -> dict[str, Any]:
    """Return a message as `client.py` prints those of Celery."""
    properties = dict(message.properties)
    return {
        "at": at,
        "exchange": message.delivery_info["exchange"],
        "routing_key": message.delivery_info["routing_key"],
        "headers": properties.pop("application_headers"),
        "properties": properties,
        "body": json.loads(message.body),
    }


def entry(version: str, kind: str, field: str) -> dict[str, Any] | None:
    """Return the entry that lists a difference."""
    return next(
        (
            one
            for one in LISTED
            if fnmatchcase(field, one["field"])
            and fnmatchcase(kind, one.get("kind", "*"))
            and version in one.get("versions", [version])
        ),
        None,
    )


def compared(version: str, theirs: dict[str, Any], ours: dict[str, Any]) -> list[dict[str, Any]]:
    """See that every difference is listed, and return the entries that list one."""
    unlisted, shown = [], []
    for kind, messages in theirs.items():
        for field, both in differences(fields(messages), fields(ours[kind])).items():
            found = entry(version, kind, field)
            if found is None:
                unlisted.append((kind, field, *both))
            else:
                shown.append(found)
    assert not unlisted, "\n".join(map(str, unlisted))
    return shown


async def test_messages_are_celerys_but_for_what_is_listed(
    celery: Celery, http: Gateway, version: str
):
    kinds = {**TASKS, **CANVASES}
    theirs = await celery.client("publish", kinds)
    ours = await published(http, celery, kinds)

    shown = compared(version, theirs, ours)
    due = [
        one
        for one in LISTED
        if version in one.get("versions", [version])
        and any(fnmatchcase(kind, one.get("kind", "*")) for kind in kinds)
    ]
    assert [one["field"] for one in due if one not in shown] == []


async def test_generated_tasks_are_celerys_too(celery: Celery, http: Gateway, version: str):
    kinds = generated(40)
    theirs = await celery.client("publish", kinds)

    compared(version, theirs, await published(http, celery, kinds))


async def test_an_application_with_the_library_publishes_as_before(celery: Celery, version: str):
    kinds = {**TASKS, **CANVASES, **STAMPED}
    before = await celery.client("publish", kinds)
    after = await celery.client("publish", kinds, INSTALL="1")
    for kind in kinds:
        changed = differences(fields(before[kind]), fields(after[kind]))
        assert set(changed) <= {"headers.origin"}, (kind, changed)

    retries = {"at once": {"countdown": 0}, "later": {"countdown": 2}, "others": {"args": [3]}}
    before = await celery.client("retry", retries)
    after = await celery.client("retry", retries, INSTALL="1")
    for kind in retries:
        changed = differences(fields(before[kind]), fields(after[kind]))
        assert set(changed) <= {"headers.origin"}, (kind, changed)


@pytest.mark.parametrize(("kind", "query"), [("revoke", ""), ("terminate", "?terminate=true")])
async def test_a_revoke_is_celerys(
    celery: Celery, http: Gateway, version: str, kind: str, query: str
):
    theirs = (await celery.client("broadcast", {kind: CONTROLS[kind]}))[kind]
    with Connection(celery.deployment.amqp_url) as connection:
        channel = connection.default_channel
        channel.queue_declare(QUEUE, durable=True, auto_delete=False)
        heard = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(heard, "celery.pidbox")
        async with http.post("/v1/tasks", json={"task": "golden.add"}) as answer:
            task_id = (await answer.json())["id"]
        at = time.time()
        async with http.delete(f"/v1/tasks/{task_id}{query}") as answer:
            assert answer.status == 202, await answer.text()
        raw = await eventually(lambda: channel.basic_get(heard, no_ack=True), 10, 0.05)
    ours = [wire(raw, at)]
    ours[0]["body"]["arguments"]["task_id"] = "the-id"

    compared(version, {kind: theirs}, {kind: ours})
