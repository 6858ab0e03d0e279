"""A schedule that beat cannot publish: its owner sees why."""

import json

from kombu.connection import Connection
from redbeat.schedulers import get_redis

from penstock.worker.beat.schedule import Scheduler
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.support.schedules_seen import EVERY, KEY, get, put
from tests.support.waiting import eventually
from topology.kombu_queues import declare
from topology.layout import load

WHY = (
    "beat could not publish it: no queue takes it; it is tried again, at the latest a minute later"
)


async def test_a_schedule_says_why_beat_could_not_publish_it_until_it_can(gateway, deployment):
    config = WorkerConfig(amqp_url=deployment.amqp_url, redis_url=deployment.redis_url)
    app = build_app(config, load())
    app.conf.penstock_first_schedule = {}
    scheduler = Scheduler(app)
    await put(gateway, "x", {**EVERY, "options": {"queue": "ranked"}})
    with Connection(deployment.amqp_url) as connection:
        connection.channel().queue_delete("ranked")

        def is_refused() -> bool:
            scheduler.tick()
            return bool(deployment.redis.hexists(KEY, "unpublished"))

        await eventually(is_refused, timeout_s=10)
        assert (await get(gateway, "x"))["warning"] == WHY
        listed = await (await gateway.get("/v1/schedules")).json()
        assert [one.get("warning") for one in listed["schedules"]] == [WHY]
        assert "warning" not in listed

        declare(connection, load())
    await eventually(lambda: not is_refused(), timeout_s=10)
    assert "warning" not in await get(gateway, "x")
    assert (await get(gateway, "x"))["total_runs"] == 1
    scheduler.close()
    get_redis(app).close()


async def test_a_schedule_that_is_put_again_or_switched_off_has_no_old_warning(gateway, deployment):
    await put(gateway, "x", EVERY)
    deployment.redis.hset(KEY, "unpublished", "no queue takes it")
    deployment.redis.set("redbeat::lock", "a beat's", ex=60)
    assert (await get(gateway, "x"))["warning"] == WHY

    told = await put(gateway, "x", EVERY)

    assert "warning" not in told
    definition = json.loads(deployment.redis.hget(KEY, "definition")) | {"enabled": False}
    fields = {"definition": json.dumps(definition), "unpublished": "no queue takes it"}
    deployment.redis.hset(KEY, mapping=fields)  # as a program does it
    assert "warning" not in await get(gateway, "x")
