"""Tasks whose request class is the application's own keep what a request of ours promises."""

from pathlib import Path

import pytest
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

QUEUE = "requests"


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    with Connection(amqp_url) as connection:
        Queue(QUEUE, Exchange(QUEUE), QUEUE)(connection.default_channel).declare()
    return Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tests.apps.requests_app"
    )


def publish(deployment: Deployment, task: str, **options: str) -> str:
    return deployment.publish(f"requests.{task}", exchange="", routing_key=QUEUE, extra=options)


@pytest.mark.parametrize("pool", ["threads", "solo", "prefork", "asyncio"])
async def test_a_request_of_the_application_stands_before_ours(deployment: Deployment, pool: str):
    tasks = ["where", "where_async"] * 3
    again = [publish(deployment, task) for task in tasks]
    deployment.put_back(QUEUE)
    poison = publish(deployment, "where", retries="none")

    async with deployment.worker(pool) as worker:
        found = again + [publish(deployment, task) for task in tasks]
        for task_id in found:
            record = await deployment.ended(task_id)
            assert (record["status"], record["result"]) == ("SUCCESS", QUEUE), record
        failed = [publish(deployment, "fail"), publish(deployment, "fail_async")]
        for task_id in failed:
            record = await deployment.ended(task_id)
            assert (record["result"]["type"], record["result"]["text"]) == ("ValueError", "no")
        ends = {f"on_failure {task_id}" for task_id in failed}
        await eventually(lambda: ends <= set(deployment.runs))
        log = worker.child.logged()
        assert b"a fault of the application" in log
        assert b"the header retries must be a number from 0" in log

    ran = [one for one in deployment.runs if one.startswith("where")]
    assert sorted(ran) == sorted(f"where {one}" for one in found)
    assert not deployment.record(poison)
    assert deployment.depth(QUEUE) == 0, "deliveries stayed unacknowledged"
