"""A revocation by Celery's client, as each worker of Celery 5.6 stores it that hears it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from celery import Celery

import penstock
from tests.deployment.lasting import Lasting
from tests.support.waiting import eventually

DEPLOYMENT = {"app": "tests.apps.installed_app", "env": {"INSTALL": "late"}}


@pytest.fixture
async def app(lasting_deployment: Lasting) -> AsyncIterator[Lasting]:
    await lasting_deployment.clear()
    async with lasting_deployment.worker("threads"):
        yield lasting_deployment


@pytest.fixture
def backend(app: Lasting) -> Iterator[Any]:
    """What another worker of the application has."""
    other = Celery("other", broker=app.amqp_url, backend=app.redis_url, set_as_current=False)
    yield penstock.install(other).backend
    other.backend.client.connection_pool.disconnect()


def publish(app: Lasting, task: str, *args: Any, **options: Any) -> str:
    return app.publish(f"installed.{task}", args, exchange="", routing_key="installed", **options)


async def test_a_task_that_runs_ends_as_it_ends_and_never_starts_again(app: Lasting, backend: Any):
    task_id = publish(app, "sleep", 1.5)
    await eventually(lambda: app.record(task_id).get("status") == "STARTED")

    backend.mark_as_revoked(task_id, reason="revoked", store_result=True)

    assert app.record(task_id)["status"] == "STARTED"
    assert (await app.ended(task_id))["status"] == "SUCCESS"
    assert app.states(task_id) == ["STARTED", "SUCCESS"]
    publish(app, "sleep", 0, task_id=task_id)
    after = publish(app, "add", 1)
    assert (await app.ended(after))["status"] == "SUCCESS"
    await eventually(lambda: app.depth("installed") == 0)
    assert sorted(app.runs) == ["add", "sleep"]


async def test_a_task_that_waits_has_ended_and_never_starts(app: Lasting, backend: Any):
    waits = "of-nobody-yet"
    for _ in range(2):  # workers
        backend.mark_as_revoked(waits, reason="revoked", store_result=True)

    record = app.record(waits)
    assert (record["status"], record["result"]["exc_type"]) == ("REVOKED", "TaskRevokedError")
    assert app.states(waits) == ["REVOKED"]
    publish(app, "add", 1, task_id=waits)
    assert (await app.ended(publish(app, "add", 2)))["status"] == "SUCCESS"
    await eventually(lambda: app.depth("installed") == 0)
    assert app.runs == ["add"]


async def test_what_has_ended_stays(app: Lasting, backend: Any):
    task_id = publish(app, "add", 1)
    assert (await app.ended(task_id))["status"] == "SUCCESS"

    backend.mark_as_revoked(task_id, reason="revoked", store_result=True)

    assert app.states(task_id) == ["STARTED", "SUCCESS"]
