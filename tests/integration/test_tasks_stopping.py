"""A worker that is told to stop ends, whatever its children still have to say."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.product import ROOT
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

UNHEARD = """
import os
from celery.signals import worker_process_shutdown
from penstock.worker import stopping

stopping.end_in_time()  # as a worker does when it starts
stopping.END_WITHIN_S = 1
worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
_, writing = os.pipe()
while True:
    os.write(writing, bytes(4096))  # the pipe is full soon, and nobody reads it
"""


async def test_it_ends_with_a_long_reason_on_its_way(amqp_url: str, redis_url: str, tmp_path: Path):
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    async with deployment.worker("prefork", concurrency=2) as worker:
        task_id = deployment.publish("demo.bulky", ["long", 2, 70_000])
        await eventually(lambda: deployment.runs)
        await worker.child.stop(25)
        assert worker.child.returncode == 0
        assert deployment.record(task_id)["status"] == "RETRY"


def test_a_child_that_nobody_hears_does_not_wait_for_ever():
    ended = subprocess.run([sys.executable, "-c", UNHEARD], cwd=ROOT, timeout=30, check=False)

    assert ended.returncode == -signal.SIGALRM
