"""Processes of a prefork pool that die at the same time: each death is seen, and charged once."""

from collections import Counter
from pathlib import Path

import pytest

from devstack.proxy import TcpProxy
from devstack.rabbit import Rabbit
from tests.deployment.workers import Deployment
from tests.support.hostile import QUEUE, Hostile, publish
from tests.support.waiting import eventually

SLOTS = 12
DEADLY = 24
DEATHS = 3


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


@pytest.mark.timeout(180)
async def test_processes_that_die_together_are_each_charged(deployment: Deployment):
    deadly = [
        Hostile(headers={"task": "demo.end_process"}, args=[str(number), "exit"])
        for number in range(DEADLY)
    ]
    async with deployment.worker("prefork", "-Q", QUEUE, concurrency=SLOTS):
        publish(deployment, deadly)
        records = [await deployment.ended(one.key, 90) for one in deadly]

    assert {record["result"]["type"] for record in records} == {"WorkerLost"}
    lives = Counter(tuple(deployment.states(one.key)) for one in deadly)
    assert lives == {("STARTED",) * DEATHS + ("FAILURE",): DEADLY}
    assert set(Counter(deployment.runs).values()) == {DEATHS}


async def test_a_process_that_lets_go_of_its_pipes_ends_no_worker(
    deployment: Deployment, rabbit: Rabbit
):
    async with TcpProxy(rabbit.port) as proxy:
        deployment.env["AMQP_URL"] = proxy.url_through(deployment.amqp_url)
        async with deployment.worker("prefork", "-Q", QUEUE, concurrency=2) as worker:
            odd = Hostile(headers={"task": "demo.end_process"}, args=["odd", "let go"])
            publish(deployment, [odd])
            await eventually(lambda: "odd" in deployment.runs, timeout_s=15)
            for _ in range(3):
                proxy.cut()
                fine = Hostile()
                publish(deployment, [fine])
                assert (await deployment.ended(fine.key, 30))["status"] == "SUCCESS"
            assert worker.child.running
            assert (await deployment.ended(odd.key, 90))["status"] in {"SUCCESS", "FAILURE"}
