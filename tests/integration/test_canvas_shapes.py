"""Random canvases over HTTP: their results have the shapes that Celery's have."""

import asyncio
import json
from typing import Any

from tests.integration.test_canvas_runs import celery_says, outcome, submit
from tests.support.canvas_shapes import canvases, given_by, has_a_group_of_one_in_a_chain

SEED, COUNT = 3, 40
ENOUGH = 0.85
"""Of what Celery makes the same of it must end so many for the comparison to say something."""


def unordered(value: Any) -> Any:
    """The same with sorted lists: Celery does not keep the order of groups in headers."""
    match value:
        case list():
            return sorted((unordered(one) for one in value), key=json.dumps)
        case dict():
            return {name: unordered(one) for name, one in value.items()}
    return value


async def test_random_canvases_give_what_the_contract_says_as_celerys_do(
    shapes_deployment, gateway
):
    requests = canvases(SEED, COUNT)
    async with shapes_deployment.worker("threads", concurrency=4):
        expected = await celery_says(shapes_deployment, str(SEED), str(COUNT))
        answers = [await submit(gateway, one) for one in requests]
        found = await asyncio.gather(*(outcome(gateway, one) for one in answers))

    for request, ours in zip(requests, found, strict=True):
        assert ours == given_by(request), request
    comparable = [
        pair
        for pair, request in zip(zip(found, expected, strict=True), requests, strict=True)
        if not has_a_group_of_one_in_a_chain(request)
    ]
    ended = [(ours, celerys) for ours, celerys in comparable if celerys is not None]
    assert len(comparable) > COUNT / 2
    assert len(ended) > ENOUGH * len(comparable)
    for ours, celerys in ended:
        assert unordered(ours) == unordered(celerys)


async def test_a_group_that_python_saved_is_waited_for(shapes_deployment, gateway):
    group_id = await celery_says(shapes_deployment, "save")
    waiting = asyncio.ensure_future(gateway.get(f"/v1/groups/{group_id}?wait=20"))
    early = await (await gateway.get(f"/v1/groups/{group_id}")).json()
    async with shapes_deployment.worker():
        told = await (await waiting).json()

    assert (early["ready"], early["counts"]) == (False, {"PENDING": 3})
    assert (told["ready"], told["results"]) == (True, [0, 2, 4])
