"""A slot that does not come back is seen by /metrics, and the worker replaces itself."""

import json
import os
from pathlib import Path

import pytest

from penstock.wire.announcements import SlotCounts, WorkerRecord, decode_worker
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, env={"SLOT_GRACE_S": "1"}
    )


async def test_a_task_that_a_thread_cannot_end_is_ended_and_its_worker_ends(
    deployment: Deployment, gateway
):
    worker = deployment.celery(
        "w", "worker", "-l", "info", "-n", "w@%h", "-P", "threads", "-c", "3", "-Q", "default"
    )
    worker.spawn()
    try:
        await eventually(lambda: b" ready." in worker.logged(), 60)
        other = deployment.publish("demo.nap", ["other", 12])
        stuck = deployment.publish("demo.nap", ["stuck", 600], timelimit=[1, None])
        record = await deployment.ended(stuck, 30)
        assert (record["status"], record["result"]["type"]) == ("FAILURE", "TimeLimitExceeded")

        async def is_shown() -> bool:
            lines = (await (await gateway.get("/metrics")).text()).splitlines()
            told = {
                one.split("{")[0]: float(one.split()[-1]) for one in lines if 'worker="w@' in one
            }
            assert told == {
                "penstock_worker_slots": 3,
                "penstock_worker_slots_busy": 2,
                "penstock_worker_slots_lost": 1,
                "penstock_worker_loop_blocked_total": 0,
            }
            return True

        await eventually(is_shown, 15)
        assert (await deployment.ended(other, 30))["status"] == "SUCCESS"
        await eventually(lambda: worker.returncode is not None, 30)
        assert worker.returncode == os.EX_TEMPFAIL
    finally:
        await worker.stop(5)
    # Acknowledgements that came too late: the next worker finds that they have ended.
    async with deployment.worker("threads", "-Q", "default"):
        after = deployment.publish("demo.run", ["after"])
        await deployment.ended(after)
        await eventually(lambda: deployment.depth("default") == 0)
    assert deployment.depth("default") == 0
    assert set(deployment.runs[:2]) == {"other begins", "stuck begins"}
    assert deployment.runs[2:] == ["other ends", "after"]


async def test_prefork_ends_a_coroutine_that_goes_on_before_its_slot_is_lost(
    deployment: Deployment,
):
    async with deployment.worker("prefork", "-Q", "default", concurrency=1) as worker:
        deaf = deployment.publish("demo.deaf", ["deaf"], timelimit=[2, None])
        record = await deployment.ended(deaf, 30)
        assert (record["result"]["type"], record["result"]["exc_message"]) == (
            "TimeLimitExceeded", [2],
        )  # fmt: skip
        after = deployment.publish("demo.run", ["after"])
        assert (await deployment.ended(after))["status"] == "SUCCESS"
        log = worker.child.logged().decode()
        assert "Hard time limit (2s)" in log
        assert "slot lost" not in log


def test_the_record_of_an_earlier_release_has_no_counts():
    record = WorkerRecord(
        worker="w", start="1", queues=(), tasks=(), seen=1.0, counts=SlotCounts(slots=2, busy=1)
    )
    written = json.loads(record.encode())
    assert decode_worker(record.encode()) == record
    del written["counts"]
    assert decode_worker(json.dumps(written)).counts == SlotCounts()
