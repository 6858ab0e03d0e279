"""Tasks of a stock Celery worker, by its events."""

import uuid
from dataclasses import replace

from kombu.connection import Connection

from penstock.wire.names import HISTORY_EVENTS_QUEUE
from tests.deployment.workers import Deployment
from tests.integration.history_writing.conftest import writing_history
from tests.support.waiting import eventually


async def test_the_tasks_of_a_stock_worker_are_kept_by_its_events(amqp_url, config, kept, tmp_path):
    deployment = Deployment(
        amqp_url=amqp_url,
        redis_url=config.redis_url,
        folder=tmp_path,
        app="tests.apps.stock_events_app",
    )
    configured = replace(config, events=True, amqp_url=amqp_url)
    async with writing_history(configured), deployment.worker("solo", name="stock"):

        async def first():
            """Events of tasks are asked for once the worker was heard of."""
            task_id = publish(deployment, "stock.add", [1, 2])
            await kept.until(task_id, 1, state="SUCCESS")
            return True

        await eventually(first, 20)
        good = publish(deployment, "stock.add", [1, 2])
        bad = publish(deployment, "stock.fail", ["bad row 7"])

        task = await kept.until(good, state="SUCCESS", task="stock.add", source="events")
        assert [change["state"] for change in task["changes"]] == ["STARTED", "SUCCESS"]
        assert task["worker"].startswith("stock@")
        task = await kept.until(bad, state="FAILURE")
        assert task["error"]["type"] == "ValueError"
        assert task["error"]["message"] == "bad row 7"
        assert "Traceback" in task["error"]["traceback"]

        with Connection(amqp_url) as connection:
            connection.default_channel.queue_delete(HISTORY_EVENTS_QUEUE)
        await eventually(first, 20)  # it is there again


def publish(deployment, task, args):
    return deployment.publish(
        task, args, exchange="", routing_key="stock", task_id=str(uuid.uuid4())
    )
