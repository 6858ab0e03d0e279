"""What many subscriptions ask of Redis in one round trip."""

import asyncio

import pytest

from gateway.redis.client import make_redis
from gateway.redis.faults import RedisAwayError
from gateway.states.snapshots import SnapshotRequest, Snapshots


async def test_a_read_that_redis_refuses_fails_for_who_asked_it_alone(redis_url, issue, worker):
    bad, good = issue(), [issue() for _ in range(20)]
    for task_id in (bad, *good):
        await worker.start(task_id)
        await worker.log(task_id, "a line")  # begins a stream of its events
    client = make_redis(redis_url)
    try:
        snapshots = Snapshots(client)
        refused = asyncio.create_task(snapshots.read([SnapshotRequest(bad, "no cursor")]))
        found = await asyncio.gather(
            *(snapshots.read([SnapshotRequest(one, "0-0")]) for one in good)
        )

        with pytest.raises(RedisAwayError, match="stream ID"):
            await refused
    finally:
        await client.close()
    assert [len(one.news) for [one] in found] == [2] * len(good)
