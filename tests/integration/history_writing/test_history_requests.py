"""What gateways tell history: accepted tasks, and what the broker ended was asked with."""

from dataclasses import replace

import aio_pika
import pytest

from tests.integration.history_writing.conftest import writing_history

BODY = '[[1.10, 12345678901234567890123], {"a":"é"}, {"callbacks":null,"chain":null,"chord":null}]'


@pytest.fixture
async def history_gateway(make_gateway, history):
    """A gateway that tells history of what it accepts."""
    return await make_gateway(history_url="http://127.0.0.1:1")


async def test_an_accepted_task_waits_in_history(history_gateway, kept):
    body = {"task": "demo.add", "args": [1, 2], "options": {"countdown": 60}}
    answer = await history_gateway.post("/v1/tasks", json=body)
    task_id = (await answer.json())["id"]

    task = await kept.until(task_id, state="PENDING", queue="default")

    assert task["tenant"] == "anonymous"
    assert abs((task["due_at"] - task["accepted_at"]).total_seconds() - 60) < 1
    assert task["at"] == task["accepted_at"]
    assert "request" not in task


async def test_a_revoked_task_that_waited_has_both_times(history_gateway, kept):
    answer = await history_gateway.post("/v1/tasks", json={"task": "demo.add", "args": [1, 2]})
    task_id = (await answer.json())["id"]
    await kept.until(task_id, state="PENDING")
    await history_gateway.delete(f"/v1/tasks/{task_id}")

    task = await kept.until(task_id, state="REVOKED")

    assert task["accepted_at"] <= task["ended_at"]
    assert [change["state"] for change in task["changes"]] == ["REVOKED"]


async def test_a_dead_letter_is_kept_as_it_came(history_gateway, kept, amqp_url):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        message = aio_pika.Message(
            BODY.encode(),
            headers={"id": "dead-1", "task": "demo.add", "colour": "red", "x-penstock-tenant": "a"},
            priority=3,
        )
        await (await channel.get_exchange("dead")).publish(message, "default")

        task = await kept.until("dead-1", state="FAILURE", tenant="a")
        request = await kept.request("dead-1")

    assert task["error"]["type"] == "DeadLettered"
    assert request["args"] == "[1.10, 12345678901234567890123]"
    assert request["kwargs"] == '{"a":"é"}'
    assert request["options"] == {"priority": 3, "headers": {"colour": "red"}}


async def test_all_arguments_are_kept_where_history_wants_them(make_gateway, config, kept):
    async with writing_history(replace(config, arguments="all")):
        gateway = await make_gateway(history_url="http://127.0.0.1:1")
        body = b'{"task":"demo.add","args":[1.10,2],"options":{"headers":{"colour":"red"}}}'

        async def kept_one():
            """The first batch only asks what is wanted."""
            answer = await gateway.post(
                "/v1/tasks", data=body, headers={"Content-Type": "application/json"}
            )
            task_id = (await answer.json())["id"]
            return (await kept.until(task_id, state="PENDING")).get("request")

        await kept_one()
        request = await kept_one()

    assert request["args"] == "[1.10,2]"
    assert request["options"]["headers"] == {"colour": "red"}


async def test_the_priority_0_that_kombu_writes_on_every_message_is_none(
    history_gateway, kept, amqp_url
):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        message = aio_pika.Message(
            BODY.encode(), headers={"id": "dead-0", "task": "demo.add"}, priority=0
        )
        await (await channel.get_exchange("dead")).publish(message, "default")

        assert (await kept.request("dead-0"))["options"] == {"headers": {}}
