"""Processes of a prefork pool that die at the same time: each death is seen, and charged once."""

from collections import Counter
from pathlib import Path

import pytest

from tests.deployment.workers import Deployment
from tests.hostile import QUEUE, Hostile, publish

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
