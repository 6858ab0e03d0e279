"""One node of three is lost: work goes on, nothing of ours ends, and its queues come back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from devstack.cluster.rig import GATEWAYS, ClusterRig, running_cluster
from tests.support.waiting import eventually

GOES_ON_WITHIN_S = 60.0
"""On a machine that is busy; `make cluster-drill` measures the 10 s that are promised."""
LAYOUT = """
extends = "default"
[queues.lone]
initial_group_size = 1
leader_locator = "client-local"
bindings = [{ exchange = "tasks", key = "lone" }]
"""
"""With a quorum queue on one node, which is that of `ranked`: it has no leader without it."""


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[ClusterRig]:
    """Clusters, two gateways and a worker of each pool."""
    layout = tmp_path / "layout.toml"
    layout.write_text(LAYOUT)
    env = {"TOPOLOGY_FILE": str(layout)}
    async with running_cluster(tmp_path, lambda _name, _state: None, env=env) as running:
        yield running


@pytest_asyncio.fixture
async def patient(tmp_path: Path) -> AsyncIterator[ClusterRig]:
    """Clusters whose nodes take minutes to find out that one of them has vanished."""
    async with running_cluster(
        tmp_path, lambda _name, _state: None, pools=["asyncio"], net_tick_s=240
    ) as running:
        yield running


@pytest_asyncio.fixture
async def http(rig: ClusterRig) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the balancer."""
    async with aiohttp.ClientSession(rig.url) as session:
        yield session


async def submit(http: aiohttp.ClientSession, queue: str, wait_s: int = 3) -> dict[str, Any]:
    body = {"task": "demo.add", "args": [1, 2], "options": {"queue": queue}}
    async with http.post(f"/v1/tasks?wait={wait_s}", json=body) as answer:
        ours = answer.content_type.endswith("json")  # the balancer's own 503 is HTML
        return {"status": answer.status, **(await answer.json() if ours else {})}


async def by_each_pool(http: aiohttp.ClientSession, queue: str) -> None:
    """Wait until a worker of each pool has executed a task of a queue."""
    seen: set[str] = set()

    async def all_seen() -> bool:
        told = await submit(http, queue)
        if told.get("state") == "SUCCESS":
            seen.add(told["worker"].partition("@")[0])
        return seen == {"asyncio", "prefork", "threads"}

    await eventually(all_seen, timeout_s=120)


@pytest.mark.timeout(400)  # a loaded machine forms a cluster slowly
async def test_a_lost_node_stops_no_other_queue(rig: ClusterRig, http: aiohttp.ClientSession):
    for queue in ("default", "ranked", "lone"):
        await by_each_pool(http, queue)
    homes = await rig.leaders()
    assert homes["ranked"] == homes["lone"]
    lost = int(homes["ranked"].partition("@")[0][-1]) - 1

    await rig.rabbit.nodes[lost].kill()

    async def executed() -> bool:
        return (await submit(http, "default"))["status"] == 200

    await eventually(executed, timeout_s=GOES_ON_WITHIN_S)
    await by_each_pool(http, "default")

    async def refused() -> bool:
        told = await submit(http, "ranked")
        return (told.get("code"), told.get("queued")) == ("broker-unavailable", "no")

    await eventually(refused, timeout_s=GOES_ON_WITHIN_S)
    assert (await submit(http, "lone"))["status"] in {429, 503, 504}
    async with http.post("/v1/broadcast", json={"task": "demo.add", "args": [1, 2]}) as answer:
        told = await answer.json()
    homes = await rig.leaders()
    at_lost = sorted(
        name.removeprefix("broadcast.")
        for name, node in homes.items()
        if name.startswith("broadcast.") and node.startswith(f"penstock-{lost + 1}@")
    )
    if told.get("code") == "unroutable":  # every worker has its queue there
        assert len(at_lost) == 3
    else:
        assert told["not_reached"] == at_lost
        assert len(told["reached"]) == 3 - len(at_lost)

    async def ready() -> bool:
        """Whether both gateways are; one may just have come from the lost node."""
        urls = [f"{gateway}/readyz" for gateway in rig.gateways]
        answers = await asyncio.gather(*(http.get(url) for url in urls))
        return {answer.status for answer in answers} == {200}

    await eventually(ready, timeout_s=GOES_ON_WITHIN_S)

    # A worker that starts meanwhile has the queues that can be consumed.
    await rig.parts["worker-prefork"].child.stop()
    await by_each_pool(http, "default")

    await rig.rabbit.nodes[lost].start()

    for queue in ("ranked", "lone"):
        await by_each_pool(http, queue)
    ended_alone = {name: part.deaths for name, part in rig.parts.items() if part.deaths}
    assert set(ended_alone) == {"worker-prefork"}, ended_alone


async def _answers(ask: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await ask()
    except aiohttp.ClientError:
        return False


def _says(log: Callable[[], str], words: str) -> bool:
    return words in log()


@pytest.mark.timeout(400)
async def test_all_connect_anew_and_start_anew_while_a_node_is_silent(patient: ClusterRig):
    """Its peers take minutes to miss it, and each declaration of a binding waits for it so long."""
    rabbit = patient.rabbit
    rabbit.isolate(2)
    for way in rabbit.ways[:2]:
        way.cut()

    async with aiohttp.ClientSession() as client:

        async def ready(gateway: str) -> bool:
            async with client.get(f"{gateway}/readyz") as answer:
                return answer.status == 200

        async def executed(gateway: str) -> bool:
            body = {"task": "demo.add", "args": [1, 2]}
            async with client.post(f"{gateway}/v1/tasks?wait=3", json=body) as answer:
                return answer.status == 200

        async def accepts(gateway: str) -> bool:
            body = {"task": "demo.add", "args": [1, 2]}
            async with client.post(f"{gateway}/v1/tasks", json=body) as answer:
                return answer.status == 202

        for gateway in patient.gateways:
            await eventually(partial(ready, gateway), timeout_s=GOES_ON_WITHIN_S)
            await eventually(partial(accepts, gateway), timeout_s=GOES_ON_WITHIN_S)
        await eventually(partial(executed, patient.gateways[0]), timeout_s=GOES_ON_WITHIN_S)

        # They declare the layout again behind that, in vain, and go on.
        for name, gateway in zip(GATEWAYS, patient.gateways, strict=True):
            said = patient.parts[name].child.log.read_text
            await eventually(partial(_says, said, "layout-not-completed"), timeout_s=60)
            assert await ready(gateway)
            assert await accepts(gateway)

        # What starts meanwhile has never declared it.
        for name in ("worker-asyncio", "gateway-1"):
            await patient.parts[name].child.stop()
        new, old = patient.gateways
        await eventually(partial(executed, old), timeout_s=GOES_ON_WITHIN_S)
        await eventually(partial(_answers, partial(ready, new)), timeout_s=GOES_ON_WITHIN_S)
        await eventually(partial(executed, new), timeout_s=GOES_ON_WITHIN_S)
