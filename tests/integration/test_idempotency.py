"""The same request twice is published once and answered alike."""

import asyncio
import contextlib
import uuid

import orjson
import pytest
from redis.asyncio import from_url

from devstack.proxy import Direction, TcpProxy
from gateway.access import idempotency
from gateway.access.auth import ANONYMOUS
from gateway.access.idempotency import Claim
from gateway.access.once import Answered, ClientLeftError, once
from gateway.api import parts
from gateway.errors import Problem
from gateway.redis.client import make_redis
from tests.integration.test_submit import ADD, messages
from tests.support.waiting import eventually


async def submit(gateway, key: str, body: object = ADD, path: str = "/v1/tasks"):
    response = await gateway.post(path, json=body, headers={"Idempotency-Key": key})
    return response, await response.json()


async def test_a_repeat_gets_the_first_answer_and_publishes_nothing(gateway, amqp_url):
    first, receipt = await submit(gateway, "k1")
    again, repeated = await submit(gateway, "k1")

    assert (first.status, again.status) == (202, 202)
    assert receipt == repeated
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    [message] = await messages(amqp_url)
    assert message.headers["id"] == receipt["id"]
    assert message.headers["x-penstock-copy"]


async def test_a_repeat_is_told_in_its_202_form_without_waiting(gateway, worker, amqp_url):
    path = "/v1/tasks?wait=20"
    waiting = asyncio.create_task(submit(gateway, "k1", path=path))
    [message] = await eventually(lambda: messages(amqp_url))
    task_id = str(message.headers["id"])
    await worker.start(task_id)
    await worker.succeed(task_id, 3)
    first, state = await waiting
    again, receipt = await submit(gateway, "k1", path=path)

    assert (first.status, state["state"]) == (200, "SUCCESS")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert (receipt["id"], receipt["state"]) == (task_id, "PENDING")


async def test_another_body_under_the_key_is_refused(gateway, amqp_url):
    await submit(gateway, "k1")
    response, problem = await submit(gateway, "k1", {"task": "demo.add", "args": [9, 9]})

    assert (response.status, problem["code"]) == (422, "idempotency-key-reused")
    assert len(await messages(amqp_url)) == 1


async def test_two_keys_on_one_request_are_none(gateway, amqp_url):
    headers = [("Idempotency-Key", "k1"), ("Idempotency-Key", "k2")]
    response = await gateway.post("/v1/tasks", json=ADD, headers=headers)

    assert (response.status, (await response.json())["code"]) == (400, "invalid-request")
    assert await messages(amqp_url) == []


async def test_a_refusal_frees_the_key(gateway):
    bad, _ = await submit(gateway, "k1", {"task": "nobody.knows"})
    good, _ = await submit(gateway, "k1")

    assert (bad.status, good.status) == (404, 202)


async def test_of_many_at_once_one_is_published(gateway, amqp_url):
    answers = await asyncio.gather(*(submit(gateway, "k1") for _ in range(20)))

    statuses = {response.status for response, _ in answers}
    assert statuses <= {202, 409}
    ids = {body["id"] for response, body in answers if response.status == 202}
    assert len(ids) == 1
    assert len(await messages(amqp_url)) == 1


async def test_an_unknown_end_keeps_the_id_for_the_retry(make_gateway, amqp_url, rabbit):
    async with TcpProxy(rabbit.port) as proxy:
        gateway = await make_gateway(amqp_url=proxy.url_through(amqp_url), confirm_timeout_s=0.5)
        proxy.stall(Direction.TO_CLIENT)
        unknown, problem = await submit(gateway, "k1")
        assert (unknown.status, problem["code"], problem["queued"]) == (
            504, "unconfirmed", "unknown",
        )  # fmt: skip
        proxy.resume()
        await eventually(lambda: gateway.app[parts.BROKER].publisher.inflight_messages == 0)
        retry, receipt = await submit(gateway, "k1")

        assert retry.status == 202
        assert receipt["id"] == problem["id"]
        copies = await messages(amqp_url)
        assert len(copies) == 2
        assert {copy.headers["id"] for copy in copies} == {receipt["id"]}
        assert len({copy.headers["x-penstock-copy"] for copy in copies}) == 2
        assert len({copy.message_id for copy in copies}) == 2


async def test_a_refusal_after_an_unknown_end_keeps_the_id(make_gateway, amqp_url, rabbit):
    async with TcpProxy(rabbit.port) as proxy:
        gateway = await make_gateway(amqp_url=proxy.url_through(amqp_url), confirm_timeout_s=0.5)
        proxy.stall(Direction.TO_CLIENT)
        _, problem = await submit(gateway, "k1")
        proxy.cut(refuse=True)
        await eventually(lambda: gateway.app[parts.BROKER].publisher.state == "disconnected")
        refused, refusal = await submit(gateway, "k1")
        assert (refused.status, refusal["queued"]) == (503, "no")
        proxy.resume()
        await eventually(lambda: gateway.app[parts.BROKER].publisher.state == "ready", 10)
        retry, receipt = await submit(gateway, "k1")

        assert (problem["queued"], retry.status) == ("unknown", 202)
        assert receipt["id"] == problem["id"]


async def test_a_first_try_that_never_ended_counts_as_unknown_after_a_minute(
    gateway, amqp_url, redis_url
):
    _, receipt = await submit(gateway, "k1")
    async with from_url(redis_url) as redis:
        [name] = await redis.keys("penstock:idempotency:*")
        record = orjson.loads(await redis.get(name) or b"")
        record["state"] = "in-flight"
        await redis.set(name, orjson.dumps(record))
    busy, problem = await submit(gateway, "k1")
    assert (busy.status, problem["code"]) == (409, "idempotency-in-flight")
    assert busy.headers["Retry-After"]

    record["at"] -= idempotency.IN_FLIGHT_S
    async with from_url(redis_url) as redis:
        await redis.set(name, orjson.dumps(record))
    retry, body = await submit(gateway, "k1")

    assert (retry.status, body["id"]) == (202, receipt["id"])


async def test_without_redis_nothing_is_published(make_gateway, amqp_url, redis_url, redis_server):
    async with TcpProxy(redis_server.port) as proxy:
        gateway = await make_gateway(redis_url=proxy.url_through(redis_url))
        proxy.cut(refuse=True)
        response, problem = await submit(gateway, "k1")

        assert (response.status, problem["code"]) == (503, "state-unavailable")
        assert problem["queued"] == "no"
        assert await messages(amqp_url) == []


async def test_a_key_where_it_is_not_taken_is_refused(gateway):
    response, problem = await submit(gateway, "k1", path="/v1/tasks/status", body={"ids": []})

    assert (response.status, problem["code"]) == (400, "invalid-request")
    long, _ = await submit(gateway, "k" * 256)
    assert long.status == 400


class Attempt:
    """Issues a new id each time, and ends in one way."""

    def __init__(self, end: Answered | Exception) -> None:
        self._end = end
        self.used: list[str] = []

    async def ids(self) -> list[str]:
        return [uuid.uuid4().hex]

    async def publish(self, claim: Claim) -> Answered:
        self.used = claim.task_ids
        if isinstance(self._end, Exception):
            raise self._end
        return self._end


@pytest.mark.parametrize(
    ("end", "then"),
    [
        (Answered(b"{}"), "answered"),
        (Answered(b"{}", whole=False), "same ids"),
        (Problem("queue-full", "full", queued="no"), "new ids"),
        (Problem("unconfirmed", "silence", queued="unknown"), "same ids"),
        (ClientLeftError("no"), "new ids"),
        (ClientLeftError("unknown"), "same ids"),
    ],
    ids=str,
)
async def test_what_a_second_try_does_follows_from_the_first(redis_url, end, then):
    redis = make_redis(redis_url)
    keys, use = idempotency.Idempotency(redis), idempotency.KeyUse(ANONYMOUS, "k", "mark")
    first, second = Attempt(end), Attempt(Answered(b"[]"))
    with contextlib.suppress(Problem, ClientLeftError):
        await once(keys, use, first)
    answered = await once(keys, use, second)
    await redis.close()

    assert answered == Answered(b"{}" if then == "answered" else b"[]", then == "answered")
    assert (second.used == first.used) == (then == "same ids")
    assert bool(second.used) == (then != "answered")
