"""DELETE /v1/tasks/{id}?terminate=true against real workers of both pools; revokes that last."""

import pytest

from gateway.api import parts
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


@pytest.fixture
async def gateway(make_gateway):
    client = await make_gateway()
    await eventually(lambda: client.app[parts.WATCHING].watch.online)
    return client


async def submit(client, task, *args, **options):
    body = {"task": task, "args": list(args), "options": options}
    response = await client.post("/v1/tasks", json=body)
    assert response.status == 202, await response.text()
    return (await response.json())["id"]


async def state(client, task_id):
    return (await (await client.get(f"/v1/tasks/{task_id}")).json()).get("state")


async def until(client, task_id, wanted, timeout_s=15):
    async def reached():
        return await state(client, task_id) == wanted

    await eventually(reached, timeout_s, 0.005)


async def terminate(client, task_id):
    response = await client.delete(f"/v1/tasks/{task_id}?terminate=true")
    return response.status, await response.json()


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_a_running_coroutine_is_stopped_and_told(gateway, deployment, pool):
    async with deployment.worker(pool):
        task_id = await submit(gateway, "demo.doze", "d", 60)
        await until(gateway, task_id, "STARTED", 30)
        status, body = await terminate(gateway, task_id)
        await until(gateway, task_id, "REVOKED")

        assert (status, body["terminating"]) == (202, True)
        if pool == "threads":
            assert "d cancelled" in deployment.runs_file.read_text()
        # The pool still works, and the message is gone for good.
        assert await _works(gateway)
        assert deployment.runs_file.read_text().count("d begins") == 1


async def test_a_running_function_is_stopped_on_prefork(gateway, deployment):
    async with deployment.worker("prefork"):
        task_id = await submit(gateway, "demo.nap", "n", 60)
        await until(gateway, task_id, "STARTED", 30)
        status, body = await terminate(gateway, task_id)
        await until(gateway, task_id, "REVOKED")

        assert (status, body["terminating"]) == (202, True)
        assert await _works(gateway)
        assert deployment.runs_file.read_text().split("\n") == ["n begins", ""]


async def test_a_running_function_on_a_thread_is_not_terminable(gateway, deployment):
    async with deployment.worker("threads"):
        task_id = await submit(gateway, "demo.nap", "n", 3)
        await until(gateway, task_id, "STARTED", 30)
        status, body = await terminate(gateway, task_id)
        await until(gateway, task_id, "SUCCESS")

        assert (status, body["code"]) == (409, "not-terminable")


async def test_a_task_is_stopped_the_moment_it_is_told_as_started(gateway, deployment):
    async with deployment.worker("prefork"):
        assert await _works(gateway)
        for number in range(5):
            task_id = await submit(gateway, "demo.nap", f"{number}", 60)
            await until(gateway, task_id, "STARTED", 30)
            assert (await terminate(gateway, task_id))[1]["terminating"] is True
            await until(gateway, task_id, "REVOKED")


async def test_a_delayed_task_that_was_revoked_never_runs_whoever_restarts(
    gateway, deployment, rabbit, redis_server
):
    task_id = await submit(gateway, "demo.run", "never", countdown=6)
    other = await submit(gateway, "demo.run", "always", countdown=6)
    response = await gateway.delete(f"/v1/tasks/{task_id}")
    assert response.status == 202
    await redis_server.stop()
    await redis_server.start()
    await rabbit.restart()
    async with deployment.worker("threads"):
        await until(gateway, other, "SUCCESS", 40)

        assert await state(gateway, task_id) == "REVOKED"
        assert deployment.runs_file.read_text().split() == ["always"]


async def _works(client):
    task_id = await submit(client, "demo.add", 1, 2)
    response = await client.get(f"/v1/tasks/{task_id}?wait=30")
    return (await response.json()).get("result") == 3
