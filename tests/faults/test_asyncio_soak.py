"""An hour of cut connections and killed servers under a thousand coroutines: `make test-long`."""

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from devstack.proxy import TcpProxy
from devstack.redis_server import Redis
from tests.deployment.workers import FINAL, Deployment
from tests.support.waiting import eventually

SOAK_S = float(os.environ.get("SOAK_SECONDS", "3600"))
SEED = int(os.environ.get("SOAK_SEED", str(random.randrange(10**6))))
RUNNING = 1000
ROUND = 1500
"""Tasks of a round: a thousand run and the others wait."""
QUIET_S = (1.0, 5.0)
PATIENCE_S = 180.0
"""From the last fault of a round to the last end."""


@pytest.mark.long
@pytest.mark.timeout(SOAK_S + 900)
async def test_nothing_is_lost_stuck_or_ended_twice(
    amqp_url: str, redis_url: str, redis_server: Redis, tmp_path: Path
):
    print(f"SOAK_SEED={SEED}")  # noqa: T201  # to repeat it
    chosen = random.Random(SEED)
    deployment = Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tests.apps.asyncio_app"
    )
    ends_at, rounds, faults = time.monotonic() + SOAK_S, 0, Counter[str]()
    port = int(amqp_url.rpartition(":")[2].partition("/")[0])
    async with TcpProxy(port) as proxy:
        deployment.env["AMQP_URL"] = proxy.url_through(amqp_url)
        async with deployment.worker("asyncio", "-Q", "default", concurrency=RUNNING) as worker:
            pid = worker.child.pid
            while time.monotonic() < ends_at:
                rounds += 1
                with deployment.publishing():
                    ids = [
                        deployment.publish("demo.co_doze", [f"{rounds}", chosen.uniform(0.5, 8)])
                        for _ in range(ROUND)
                    ]
                for _ in range(chosen.randint(1, 3)):
                    await asyncio.sleep(chosen.uniform(*QUIET_S))
                    faults[await strike(chosen, proxy, redis_server)] += 1
                await all_end_once(deployment, ids, f"SOAK_SEED={SEED} round {rounds} {faults}")
                deployment.redis.flushdb()
            assert worker.child.pid == pid
    assert deployment.depth("default") == deployment.depth("default.dead") == 0
    print(f"{rounds} rounds of {ROUND} tasks, {faults}")  # noqa: T201  # what was done


async def strike(chosen: random.Random, proxy: TcpProxy, redis: Redis) -> str:
    """Break something, and mend it."""
    match chosen.choice(("cut", "refuse", "cut after", "redis", "redis")):
        case "cut":
            proxy.cut()
            return "cut"
        case "refuse":
            proxy.cut(refuse=True)
            await asyncio.sleep(chosen.uniform(1, 5))
            proxy.resume()
            return "refused"
        case "cut after":
            direction = chosen.choice(list(proxy.passed_bytes))
            proxy.cut_after(int(10 ** chosen.uniform(1, 5)), direction)
            await asyncio.sleep(2)
            proxy.resume()
            return "cut after bytes"
    await redis.kill()
    await asyncio.sleep(chosen.uniform(0, 6))
    await redis.start()
    return "redis killed"


async def all_end_once(deployment: Deployment, ids: list[str], where: str) -> None:
    """Wait until all of a round have succeeded, and see that each has one end."""

    def states() -> bool:
        found = Counter(deployment.record(one).get("status", "") for one in ids)
        assert found == {"SUCCESS": len(ids)}, f"{where}: {found}"
        return True

    await eventually(states, PATIENCE_S, 1.0)
    await eventually(lambda: deployment.depth("default") == 0, PATIENCE_S)
    ends = Counter(sum(s in FINAL for s in deployment.states(one)) for one in ids)
    assert ends == {1: len(ids)}, f"{where}: {ends}"
    assert deployment.depth("default.dead") == 0, where
