"""A worker whose loop stands still does nothing, though its threads go on: it is silent."""

from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from celery import Celery

from devstack.process import Process
from penstock.wire.announcements import SILENT_AFTER_S
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

STILL_S = 21.0
TOLD_WITHIN_S = 20.0


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tests.apps.asyncio_app"
    )


async def names(gateway: Any) -> dict[str, str]:
    """Return how each worker is, by its node name."""
    async with gateway.get("/v1/workers") as response:
        return {one["name"]: one["status"] for one in (await response.json())["workers"]}


async def workers(gateway: Any) -> dict[str, str]:
    """Return how each is, without its host."""
    return {name.partition("@")[0]: how for name, how in (await names(gateway)).items()}


async def problems(gateway: Any) -> set[tuple[str, str]]:
    async with gateway.get("/v1/problems") as response:
        found = (await response.json())["problems"]
    return {(one["code"], one["subject"].partition("@")[0]) for one in found}


def _logged(worker: Process, words: bytes) -> bool:
    return words in worker.child.logged()


@pytest.mark.timeout(180)
async def test_a_loop_that_stands_still_is_a_problem_until_it_goes_on(gateway, deployment):
    pools = {"prefork": "prefork", "threads": "threads", "aio": "asyncio", "held": "asyncio"}
    async with AsyncExitStack() as stack:
        running = {
            name: await stack.enter_async_context(
                # What holds the coroutines of one comes to no other.
                deployment.worker(
                    pool, "-Q", "coroutines" if name == "held" else "default", name=name
                )
            )
            for name, pool in pools.items()
        }
        assert await workers(gateway) == dict.fromkeys(pools, "online")
        holder = deployment.publish("demo.co_holds", [STILL_S], routing_key="coroutines")
        with Celery(broker=deployment.amqp_url, set_as_current=False) as app:
            app.control.broadcast(
                "stand_still",
                arguments={"seconds": STILL_S},
                destination=[name for name in await names(gateway) if name[:4] != "held"],
            )

        silent: set[str] = set()
        told: set[tuple[str, str]] = set()

        async def all_silent() -> bool:
            silent.update(name for name, how in (await workers(gateway)).items() if how == "silent")
            told.update(await problems(gateway))
            return silent == set(pools) and len(told) > len(pools)

        await eventually(all_silent, SILENT_AFTER_S + TOLD_WITHIN_S, 0.3)
        assert told == {("task-stuck", holder), *(("worker-silent", name) for name in pools)}
        for name, worker in running.items():
            named = b"in stand_still\n" if name != "held" else b"in holds\n"
            await eventually(partial(_logged, worker, named), 10)

        async def mended() -> bool:
            online = await workers(gateway) == dict.fromkeys(pools, "online")
            return online and await problems(gateway) == set()

        await eventually(mended, STILL_S + TOLD_WITHIN_S, 0.3)
