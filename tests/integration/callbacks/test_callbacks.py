"""Completion callbacks: every way in which a task can end, and every way a receiver can fail."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu.connection import Connection

from gateway.api import parts
from gateway.endings import callback_events
from gateway.endings.callback_events import CallbackEvent, event_of
from penstock.wire.headers import CALLBACK_HEADER
from tests.integration.callbacks.conftest import SECRET
from tests.support.canvases import add, total
from tests.support.waiting import eventually


async def submit(gateway: Any, url: str, task: str, *args: Any, **options: Any) -> str:
    body = {"task": task, "args": list(args), "options": {**options, "callback_url": url}}
    response = await gateway.post("/v1/tasks", json=body)
    answer = await response.json()
    assert response.status == 202, answer
    return str(answer["id"])


@contextmanager
def deployment_channel(amqp_url: str) -> Iterator[Any]:
    with Connection(amqp_url) as connection:
        yield connection.default_channel


async def final(gateway: Any, task_id: str) -> dict[str, Any]:
    response = await gateway.get(f"/v1/tasks/{task_id}?wait=20")
    told: dict[str, Any] = await response.json()
    told.get("error", {}).pop("traceback", None)  # the caller here is an admin
    return told


async def test_the_final_state_is_posted_signed_and_with_its_event(deployment, calling, receiver):
    async with deployment.worker():
        task_id = await submit(calling, receiver.url("/a?b=c"), "demo.add", 1, 2)
        call = await receiver.called(task_id)

    assert call.json == await final(calling, task_id)
    assert (call.json["state"], call.json["result"]) == ("SUCCESS", 3)
    assert call.path == "/a"
    assert call.headers["Content-Type"] == "application/json; charset=utf-8"
    timestamp = call.headers["X-Penstock-Timestamp"]
    assert abs(time.time() - int(timestamp)) < 30
    signed = timestamp.encode() + b"." + call.body
    expected = hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    assert call.headers["X-Penstock-Signature"] == f"v1={expected}"
    assert call.headers["X-Penstock-Event"]
    assert "X-Penstock-Tenant" not in call.headers  # without keys there are none


async def test_a_callback_names_the_tenant_of_its_task(
    deployment, make_calling_gateway, receiver, tmp_path
):
    keys = tmp_path / "keys.toml"
    tenants = {"one": "acme", "other": "b\u00fcro 7%"}
    keys.write_text(
        "".join(
            f'[[key]]\nname = "{name}"\ntenant = "{tenant}"\nscopes = ["submit", "read"]\n'
            f'sha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n'
            for name, tenant in tenants.items()
        )
    )
    gateway = await make_calling_gateway(keys_file=keys)
    await deployment.rest()
    options: dict[str, Any] = {"callback_url": receiver.url()}
    body = {"task": "demo.add", "args": [1, 2], "options": options}
    late = {**body, "options": options | {"expires": 0.3}}
    ids: dict[str, list[str]] = {}
    for name in tenants:
        headers = {"Authorization": f"Bearer {name}"}
        for one in (late, body, body):
            response = await gateway.post("/v1/tasks", json=one, headers=headers)
            ids.setdefault(name, []).append((await response.json())["id"])
        path = f"/v1/tasks/{ids[name][2]}"
        assert (await gateway.delete(path, headers=headers)).status == 202
    async with deployment.worker():
        for name, told in (("one", "acme"), ("other", "b%C3%BCro%207%25")):
            for task_id in ids[name]:
                call = await receiver.called(task_id)
                assert call.headers["X-Penstock-Tenant"] == told


async def test_a_callback_is_forgotten_once_it_was_delivered(deployment, calling, receiver):
    redis = deployment.redis
    async with deployment.worker():
        await receiver.called(await submit(calling, receiver.url(), "demo.add", 1, 2))
        receiver.answers = [500]
        await receiver.called(await submit(calling, receiver.url(), "demo.fail", "no"))
        await eventually(lambda: len(receiver.calls) == 3, 10)

    await eventually(lambda: not redis.keys("penstock:callback:*"), 5)
    assert not redis.exists("penstock:kept:callbacks:anonymous")


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_every_end_that_a_worker_sees_is_told(
    unannounced, deployment, calling, receiver, pool
):
    url = receiver.url()
    ends: dict[str, list[Any]] = {
        "SUCCESS": ["demo.add", 1, 2],
        "FAILURE": ["demo.fail", "no"],
        "FAILURE ": ["demo.permanent", "never"],
        "SUCCESS after a retry": ["demo.flaky", 1],
        "FAILURE by its limit": ["demo.limited", "late", 30],
        "FAILURE by its result": ["demo.not_a_number"],
        "FAILURE, no such argument": ["demo.add", 1, 2, 3],
    }
    # Before a worker announces how many arguments there are.
    ids = {name: await submit(calling, url, *args) for name, args in ends.items()}
    async with deployment.worker(pool, concurrency=4):
        for name, task_id in ids.items():
            call = await receiver.called(task_id)

            assert call.json["state"] == name.split()[0].rstrip(","), name
            assert call.json == await final(calling, task_id)
            assert "traceback" not in call.json.get("error", {})
    assert len(receiver.calls) == len(ids)


async def test_a_task_that_kills_its_workers_is_told(deployment, calling, receiver):
    async with deployment.worker("prefork"):
        task_id = await submit(calling, receiver.url(), "demo.end_process", "x", "kill")
        call = await receiver.called(task_id, 60)

    assert (call.json["state"], call.json["error"]["type"]) == ("FAILURE", "WorkerLost")


async def test_a_task_without_a_result_is_told(deployment, calling, receiver):
    async with deployment.worker():
        task_id = await submit(calling, receiver.url(), "demo.add", 1, 2, ignore_result=True)
        call = await receiver.called(task_id)

    assert call.json == {
        "id": task_id, "tracked": False, "task": "demo.add", "state": "SUCCESS",
    }  # fmt: skip


async def test_a_revoked_task_is_told_at_once_and_once(deployment, calling, receiver):
    await deployment.rest()
    task_id = await submit(calling, receiver.url(), "demo.add", 1, 2)
    later = await submit(calling, receiver.url(), "demo.add", 1, 2, countdown=86_400)
    for one in (task_id, later):
        assert (await calling.delete(f"/v1/tasks/{one}")).status == 202
        assert (await receiver.called(one)).json["state"] == "REVOKED"
    async with deployment.worker():
        await eventually(lambda: deployment.depth("default") == 0, 10)
        other = await submit(calling, receiver.url(), "demo.add", 1, 2)
        await receiver.called(other)

    assert len(receiver.of(task_id)) == 1


async def test_a_revoked_task_is_told_by_the_worker_when_the_gateway_could_not(
    deployment, calling, receiver
):
    await deployment.rest()
    task_id = await submit(calling, receiver.url(), "demo.add", 1, 2)
    deployment.redis.delete(f"penstock:callback:{task_id}")
    assert (await calling.delete(f"/v1/tasks/{task_id}")).status == 202
    assert not receiver.calls
    async with deployment.worker():
        assert (await receiver.called(task_id)).json["state"] == "REVOKED"


async def test_a_stopped_task_is_told(deployment, calling, receiver):
    async with deployment.worker():
        task_id = await submit(calling, receiver.url(), "demo.doze", "x", 60)
        await eventually(lambda: deployment.runs == ["x begins"], 10)
        response = await calling.delete(f"/v1/tasks/{task_id}?terminate=true")
        assert response.status == 202, await response.text()

        assert (await receiver.called(task_id)).json["state"] == "REVOKED"


async def test_ends_that_the_broker_decides_are_told(deployment, calling, receiver, amqp_url):
    await deployment.rest()
    expired = await submit(calling, receiver.url(), "demo.add", 1, 2, expires=0.2)
    kept = await submit(calling, receiver.url(), "demo.add", 1, 2, expires=0.2, ignore_result=True)
    assert (await receiver.called(expired)).json["state"] == "REVOKED"
    assert (await receiver.called(kept)).json["state"] == "REVOKED"

    task_id = await submit(calling, receiver.url(), "demo.add", 1, 2)
    with deployment_channel(amqp_url) as channel:
        message = channel.basic_get("default")
        channel.basic_reject(message.delivery_tag, requeue=False)
    call = await receiver.called(task_id)
    assert (call.json["state"], call.json["error"]["type"]) == ("FAILURE", "DeadLettered")


async def test_what_never_begins_in_a_canvas_is_told(deployment, calling, receiver):
    told: dict[str, Any] = {"options": {"callback_url": receiver.url()}}
    fail = {"task": "demo.fail", "args": ["no"]}
    canvas = {"chain": [fail, {"group": [add(1, **told), add(2)]}, total(**told)]}
    answer = await (await calling.post("/v1/canvas", json=canvas)).json()
    async with deployment.worker():
        for task_id in (answer["ids"][1], answer["ids"][3]):
            assert (await receiver.called(task_id)).json["state"] == "FAILURE"
    assert len(receiver.calls) == 2


async def test_a_receiver_that_fails_is_called_again_with_the_same_event(
    deployment, calling, receiver
):
    receiver.answers = [500, 302, 429]
    async with deployment.worker():
        task_id = await submit(calling, receiver.url(), "demo.add", 1, 2)
        await eventually(lambda: len(receiver.calls) == 4, 30)

    assert {call.path for call in receiver.calls} == {"/hook"}  # no redirect was followed
    assert len({call.headers["X-Penstock-Event"] for call in receiver.calls}) == 1
    assert {call.json["id"] for call in receiver.calls} == {task_id}


async def test_a_gateway_that_dies_while_it_calls_is_made_up_for(
    deployment, make_calling_gateway, receiver
):
    first = await make_calling_gateway()
    receiver.hang = asyncio.Event()
    async with deployment.worker():
        task_id = await submit(first, receiver.url(), "demo.add", 1, 2)
        await receiver.called(task_id)
        await first.close()
        receiver.hang = None
        await make_calling_gateway()
        await eventually(lambda: len(receiver.of(task_id)) == 2, 20)


async def test_an_event_announced_twice_is_delivered_once(calling, receiver, deployment):
    async with deployment.worker():
        task_id = await submit(calling, receiver.url(), "demo.add", 1, 2)
        call = await receiver.called(task_id)
        event = event_of(task_id, "SUCCESS", {CALLBACK_HEADER: receiver.url()})
        assert event is not None
        assert call.headers["X-Penstock-Event"] == event.event
        await eventually(lambda: deployment.redis.keys("penstock:called:*"), 5)
        await calling.app[parts.ENDINGS].events.announce(event)
        other = await submit(calling, receiver.url(), "demo.add", 1, 2)
        await receiver.called(other)
    await eventually(lambda: deployment.depth("callbacks") == 0, 5)

    assert len(receiver.of(task_id)) == 1


async def test_an_event_of_yesterday_is_given_up_into_the_dead_letters_and_can_be_replayed(
    calling, receiver, amqp_url, deployment
):
    receiver.answers = [500, 500]
    yesterday = time.time() - callback_events.GIVE_UP_S - 1
    event = CallbackEvent(
        event="0" * 36, id="t", url=receiver.url(), state="SUCCESS", attempt=30, first_at=yesterday
    )
    await calling.app[parts.ENDINGS].events.announce(event)
    await eventually(lambda: deployment.depth("callbacks.dead") == 1, 10)

    letters = await (await calling.get("/v1/dead-letters/callbacks")).json()
    [letter] = letters["letters"]
    assert letter["reason"] == "callback-failed"
    assert letter["task"] == "callbacks.deliver"
    assert letter["error"]["message"] == "the answer was 500"
    response = await calling.post("/v1/dead-letters/callbacks/replay", json={"all": True})
    assert response.status == 200, await response.text()
    await eventually(lambda: len(receiver.calls) == 3, 10)  # a replay begins afresh
    assert deployment.depth("callbacks.dead") == 0


async def test_what_is_no_event_goes_to_the_dead_letters(calling, deployment):
    # Past the gateway, which lets no task into that queue.
    task_id = deployment.publish("demo.add", [1, 2], exchange="", routing_key="callbacks")

    ended = await deployment.ended(task_id)
    assert (ended["status"], ended["result"]["exc_type"]) == ("FAILURE", "DeadLettered")
    assert deployment.depth("callbacks.dead") == 1


async def test_redis_away_delays_a_callback_and_loses_none(
    deployment, calling, receiver, redis_server
):
    async with deployment.worker():
        task_id = await submit(calling, receiver.url(), "demo.add", 1, 2)
        await receiver.called(task_id)
        late = receiver.url("/late")
        event = CallbackEvent(event="2" * 36, id=task_id, url=late, state="SUCCESS")
        await redis_server.kill()
        await calling.app[parts.ENDINGS].events.announce(event)
        await redis_server.start()
        await eventually(lambda: any(call.path == "/late" for call in receiver.calls), 30)


async def test_what_waits_for_a_task_that_the_broker_ended_is_told(
    deployment, calling, receiver, amqp_url
):
    await deployment.rest()
    told: dict[str, Any] = {"options": {"callback_url": receiver.url()}}
    expiring = add(1, 1, options={"expires": 0.2})
    chain = {"chain": [expiring, add(2, **told), {"group": [add(3, **told), add(4)]}]}
    chord = {"chain": [{"group": [expiring, add(5, 5)]}, total(), add(1, **told)]}
    first = await (await calling.post("/v1/canvas", json=chain)).json()
    second = await (await calling.post("/v1/canvas", json=chord)).json()

    for task_id in first["ids"]:
        assert (await final(calling, task_id))["state"] == "REVOKED"
    for task_id in second["ids"][2:]:
        assert (await final(calling, task_id))["state"] == "FAILURE"
    for task_id in (*first["ids"][1:3], second["ids"][3]):
        await receiver.called(task_id)
    assert len(receiver.calls) == 3


async def test_a_replayed_dead_letter_lets_its_chord_go_on(deployment, calling, amqp_url):
    await deployment.rest()
    canvas = {"chord": {"header": [add(1, 1), add(2, 2)], "body": total()}}
    answer = await (await calling.post("/v1/canvas", json=canvas)).json()
    with deployment_channel(amqp_url) as channel:
        message = channel.basic_get("default")
        channel.basic_reject(message.delivery_tag, requeue=False)
    body = answer["id"]
    assert (await final(calling, body))["state"] == "FAILURE"
    async with deployment.worker():
        response = await calling.post("/v1/dead-letters/default/replay", json={"all": True})
        assert response.status == 200, await response.text()

        async def succeeded() -> bool:
            return (await final(calling, body)).get("result") == 6

        await eventually(succeeded, 15)
