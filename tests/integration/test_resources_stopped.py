"""A task that is terminated while its process makes what the tasks of the application share."""

from pathlib import Path
from typing import Any

from celery import Celery

from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


async def test_a_stop_while_resources_are_made_is_kept_and_the_process_goes_on(
    amqp_url: str, redis_url: str, tmp_path: Path
):
    deployment = Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tests.apps.resources_app"
    )
    where: dict[str, Any] = {"exchange": "", "routing_key": "resources"}
    async with deployment.worker("prefork", concurrency=1):
        stopped = deployment.publish("resources.use", **where)
        await eventually(lambda: deployment.runs == ["making"], timeout_s=10)
        with Celery("client", broker=amqp_url, set_as_current=False) as client:
            client.control.revoke(stopped, terminate=True)

        assert (await deployment.ended(stopped))["status"] == "REVOKED"
        after = await deployment.ended(deployment.publish("resources.use", **where))
        assert (after["status"], after["result"]) == ("SUCCESS", "made")
    assert deployment.runs == ["making", "made", "used"]
