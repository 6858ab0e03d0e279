"""Random canvases over HTTP: their results have the shapes that Celery's have."""

import asyncio
import json
from typing import Any

from tests.canvas_shapes import canvases
from tests.integration.test_canvas_runs import celery_says, outcome, submit

SEED, COUNT = 3, 40
ENOUGH = 0.85
"""Of all canvases Celery must end so many for the comparison to say something."""


def unordered(value: Any) -> Any:
    """The same with sorted lists: Celery does not keep the order of groups in headers."""
    match value:
        case list():
            return sorted((unordered(one) for one in value), key=json.dumps)
        case dict():
            return {name: unordered(one) for name, one in value.items()}
    return value


def first_number(value: Any) -> int:
    return value["k"] if isinstance(value, dict) else min(map(first_number, value), default=-1)


def ordered(value: Any) -> bool:
    """Whether all results of groups are in the order of the request, whose tasks are numbered."""
    match value:
        case dict():
            return ordered(value["of"])
        case list():
            numbers = [first_number(one) for one in value if one != []]
            return numbers == sorted(numbers) and all(map(ordered, value))
    return True


async def test_random_canvases_have_celerys_shapes_in_the_order_of_the_request(
    shapes_deployment, gateway
):
    async with shapes_deployment.worker("threads", concurrency=4):
        expected = await celery_says(shapes_deployment, str(SEED), str(COUNT))
        requests = canvases(SEED, COUNT)
        answers = [await submit(gateway, one) for one in requests]
        found = await asyncio.gather(*(outcome(gateway, one) for one in answers))

    pairs = zip(requests, expected, found, strict=True)
    compared = [pair for pair in pairs if pair[1] is not None]
    assert len(compared) > ENOUGH * COUNT
    for request, celerys, ours in compared:
        assert unordered(ours) == unordered(celerys), request
    for request, ours in zip(requests, found, strict=True):
        assert ordered(ours), request


async def test_a_group_that_python_saved_is_waited_for(shapes_deployment, gateway):
    group_id = await celery_says(shapes_deployment, "save")
    waiting = asyncio.ensure_future(gateway.get(f"/v1/groups/{group_id}?wait=20"))
    early = await (await gateway.get(f"/v1/groups/{group_id}")).json()
    async with shapes_deployment.worker():
        told = await (await waiting).json()

    assert (early["ready"], early["counts"]) == (False, {"PENDING": 3})
    assert (told["ready"], told["results"]) == (True, [0, 2, 4])
