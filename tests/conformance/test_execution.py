"""Stock workers of each version execute what a gateway submits as what Celery's client does."""

import asyncio
from typing import Any

import pytest

from tests.conformance.conftest import VERSIONS, Celery
from tests.conformance.kinds import CANVASES, DEEPEST, LISTS_OF_ONE, TASKS, timed
from tests.deployment.gateway import Gateway

pytestmark = [
    pytest.mark.bare_vhost,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("version", VERSIONS),
]
WAIT_S = 40


async def ended(http: Gateway, name: str, kind: dict[str, Any]) -> Any:
    """Submit a kind, and return how it ends, as `client.py` says it."""
    path = "/v1/tasks" if "task" in kind else "/v1/canvas"
    async with http.post(f"{path}?wait={WAIT_S}", json=timed(kind)) as answer:
        told = await answer.json()
    if "results" in told:
        return ["SUCCESS", told["results"]]
    if told.get("tracked") is False:
        return ["ignored", None]
    if told.get("state") == "FAILURE":
        return ["FAILURE", told["error"]["type"]]
    return [told.get("state", told), told.get("result")]


async def test_each_kind_ends_as_under_celerys_client(celery: Celery, http: Gateway, version: str):
    kinds = {**TASKS, **CANVASES}
    async with celery.deployment.worker("threads", name="stock", concurrency=8):
        theirs = await celery.client("run", kinds)
        ours = dict(
            zip(
                kinds,
                await asyncio.gather(*(ended(http, *one) for one in kinds.items())),
                strict=True,
            )
        )

    assert ours == theirs
    assert theirs["chain > group > task"] == ["SUCCESS", 35]


async def test_a_group_of_one_in_a_chain_gives_a_list_of_one(
    celery: Celery, http: Gateway, version: str
):
    async with celery.deployment.worker("threads", name="stock"):
        found = {name: await ended(http, name, kind) for name, kind in LISTS_OF_ONE.items()}

    assert found == {
        "first": ["SUCCESS", 2],
        "in the middle": ["SUCCESS", 12],
        "last": ["SUCCESS", [12]],
        "before another": ["SUCCESS", [3]],
        "in a later group": ["SUCCESS", [[5], 5]],
    }


async def test_the_deepest_canvases_end(celery: Celery, http: Gateway, version: str):
    async with celery.deployment.worker("prefork", name="stock", concurrency=2):
        found = {name: await ended(http, name, kind) for name, kind in DEEPEST.items()}

    assert found == {
        "groups in a row": ["SUCCESS", [2, 2]],
        "behind a task": ["SUCCESS", [2, 2]],
        "in headers": ["SUCCESS", 18],
    }
