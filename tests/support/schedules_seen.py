"""Schedules as a client sees them, and a beat that obeys them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

KEY = "redbeat:@anonymous/x"
WARNING = (
    "no scheduler runs the schedules: start one with `celery -A tasks beat`; a beat with Celery's "
    "own scheduler does not read them"
)
EVERY = {"task": "demo.add", "args": [1, 2], "every": 1}
ODD_NAMES = (":lock", "::", ":schedule", ":statics", "a" * 201, "a%0Ab", "%2F", "a%2Fb", "@b%2Fx")
"""No schedule can have one of these."""


@asynccontextmanager
async def beating(deployment: Deployment) -> AsyncIterator[None]:
    """A beat that leads."""
    beat = deployment.celery("beat", "beat", "-l", "info", app="tasks.worker")
    beat.spawn()
    try:
        await eventually(lambda: b"beat: leading" in beat.logged(), 20)
        yield
    finally:
        await beat.stop(10)


async def put(gateway: Any, name: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await gateway.put(f"/v1/schedules/{name}", json=body)
    told: dict[str, Any] = await response.json()
    assert response.status in {200, 201}, told
    return told


async def get(gateway: Any, name: str) -> dict[str, Any]:
    response = await gateway.get(f"/v1/schedules/{name}")
    told: dict[str, Any] = await response.json()
    assert response.status == 200, told
    return told


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
