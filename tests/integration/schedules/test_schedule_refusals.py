"""Schedules that are refused, each with the place of its fault."""

from typing import Any

from tests.integration.test_canvas_refusals import announce
from tests.support.schedules_seen import EVERY, ODD_NAMES, put

REFUSALS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"task": "demo.add"}, 400, "invalid-request", "$"),
    ({**EVERY, "crontab": {}}, 400, "invalid-request", "$"),
    ({**EVERY, "every": 0}, 400, "invalid-request", "$.every"),
    ({**EVERY, "every": "x"}, 400, "invalid-request", "$.every"),
    ({**EVERY, "more": 1}, 400, "invalid-request", "$.more"),
    ({**EVERY, "args": {}}, 400, "invalid-request", "$.args"),
    ({**EVERY, "args": [2**64]}, 400, "invalid-request", "$.args"),
    ({**EVERY, "task": "nobody.knows"}, 404, "unknown-task", ""),
    ({**EVERY, "args": [1, "x"]}, 422, "invalid-arguments", "$.args[1]"),
    ({**EVERY, "options": {"queue": "nope"}}, 404, "unknown-queue", ""),
    (
        {**EVERY, "options": {"eta": "2030-01-01T00:00:00Z"}},
        400, "invalid-request", "$.options.eta",
    ),
    (
        {**EVERY, "options": {"expires": "2030-01-01T00:00:00Z"}},
        400, "invalid-request", "$.options.expires",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"minute": "61"}},
        400, "invalid-request", "$.crontab.minute",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "Mars/Olympus"}},
        400, "invalid-request", "$.crontab.timezone",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "../../etc/passwd"}},
        400, "invalid-request", "$.crontab.timezone",
    ),
    (
        {"task": "demo.add", "crontab": {"day_of_month": "30", "month_of_year": "2"}},
        400, "invalid-request", "$.crontab",
    ),
    (
        {"task": "demo.add", "solar": {"event": "noon", "latitude": 1, "longitude": 2}},
        400, "invalid-request", "$.solar.event",
    ),
    (
        {"task": "demo.add", "solar": {"event": "sunset", "latitude": 91, "longitude": 2}},
        400, "invalid-request", "$.solar.latitude",
    ),
    (
        {"task": "demo.add", "solar": {"event": "sunset", "latitude": 90, "longitude": 2}},
        400, "invalid-request", "$.solar",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "localtime"}},
        400, "invalid-request", "$.crontab.timezone",
    ),
    (
        {"task": "demo.add", "args": [1, 2], "crontab": {"timezone": "right/Europe/Berlin"}},
        400, "invalid-request", "$.crontab.timezone",
    ),
]  # fmt: skip


async def test_an_argument_that_would_be_told_back_as_another_is_refused(gateway, deployment):
    for number in (1 << 64, -(1 << 63) - 1, 10**400):
        body = {"task": "periodic.heartbeat", "args": [{"n": number}], "every": 100}
        response = await gateway.put("/v1/schedules/x", json=body)

        assert response.status == 400
        assert (await response.json())["errors"][0]["at"] == "$.args"
    largest = {"task": "periodic.heartbeat", "args": [(1 << 64) - 1], "every": 100}
    assert (await put(gateway, "x", largest))["args"] == largest["args"]
    assert (await (await gateway.post("/v1/schedules/y/run")).json())["queued"] == "no"


async def test_a_bad_schedule_is_refused_with_its_place(gateway, deployment):
    announce(gateway)
    for body, status, code, place in REFUSALS:
        response = await gateway.put("/v1/schedules/x", json=body)
        problem = await response.json()

        assert (response.status, problem["code"]) == (status, code), (body, problem)
        if place:
            assert problem["errors"][0]["at"] == place, problem
    for name in ODD_NAMES:
        response = await gateway.put(f"/v1/schedules/{name}", json=EVERY)
        assert response.status == 400, name
    assert deployment.redis.keys("redbeat*") == []
