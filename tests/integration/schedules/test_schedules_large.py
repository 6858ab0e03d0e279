"""Schedules with large arguments: bounded one by one, and read a few at a time."""

import json
from typing import Any

from gateway.api import parts
from gateway.config import Quotas
from gateway.schedules.guard import ScheduleGuard
from gateway.schedules.schedule_request import MAX_SCHEDULE_BYTES
from tests.support.memory import most_held
from tests.support.schedules_seen import EVERY, get, put

JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024
LARGE = {**EVERY, "task": "demo.echo", "args": [[1] * (MAX_SCHEDULE_BYTES // 2 - 100)]}


def compact(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


async def test_a_schedule_over_its_bound_is_refused(gateway, deployment):

    for octets, status in ((MAX_SCHEDULE_BYTES, 201), (MAX_SCHEDULE_BYTES + 1, 413)):
        body = compact(LARGE).ljust(octets)
        response = await gateway.put(f"/v1/schedules/{status}", data=body, headers=JSON)
        told = await response.json()

        assert response.status == status, told
    assert (told["code"], "65536" in told["detail"]) == ("body-too-large", True)
    assert (await get(gateway, "201"))["args"] == LARGE["args"]
    assert deployment.redis.keys("redbeat:@anonymous/*") == ["redbeat:@anonymous/201"]


async def test_a_larger_one_of_an_earlier_release_is_shown_switched_off_and_deleted(
    gateway, deployment
):
    await put(gateway, "x", EVERY)
    key = "redbeat:@anonymous/x"
    definition = json.loads(deployment.redis.hget(key, "definition"))
    definition |= {"args": ["y" * 200_000], "kwargs": None}
    deployment.redis.hset(key, "definition", json.dumps(definition))

    told = await get(gateway, "x")
    assert (told["args"], told["kwargs"]) == (definition["args"], {})
    assert (await gateway.post("/v1/schedules/x/run")).status == 202
    assert (await put(gateway, "x", {**EVERY, "enabled": False}))["args"] == [1, 2]
    assert (await gateway.delete("/v1/schedules/x")).status == 204


async def test_many_large_ones_are_told_and_guarded_a_few_at_a_time(make_keyed_gateway, deployment):
    client = await make_keyed_gateway(quotas=Quotas(schedule_bytes=1 << 30))
    count = 150
    for number in range(count):
        headers = client.as_("root")
        path = f"/v1/schedules/{number:03}"
        async with client.put(path, data=compact(LARGE), headers={**headers, **JSON}) as answer:
            assert answer.status == 201, await answer.text()
    guard = ScheduleGuard(
        client.app[parts.SCHEDULING].schedules,
        client.app[parts.ACCESS].keyring,
        client.app[parts.SUBMITTING].planner,
    )
    with most_held() as held:
        await guard.turn()

        assert held() < 8 * MIB
    async with client.get("/v1/schedules", headers=client.as_("root")) as answer:
        told = await answer.json()
    assert [one["name"] for one in told["schedules"]] == [f"{n:03}" for n in range(count)]
    assert all(one["args"] == LARGE["args"] for one in told["schedules"])
    assert "warning" in told
