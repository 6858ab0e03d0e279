"""Random JSON in every place where a client's JSON goes: it arrives as it was sent."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.workers import Deployment
from tests.fuzz.budget import budget_s, rounds, seed
from tests.support.json_paths import Paths
from tests.support.json_shapes import deep, exact, lookalike, tree, without_dollars

APP = "tests.apps.json_app"
PATHS = {
    "arguments": 150, "retried": 25, "delayed": 25, "chained": 25, "joined": 25, "nested": 15,
    "scheduled": 5,
}  # fmt: skip
"""Values of a round along each path of `Paths`."""
FORMS = {"ndjson": 250, "array": 250, "single": 60}
"""Documents of a round in each form."""


def values(rng: random.Random, count: int, *, big: bool) -> list[Any]:
    """Make arguments: all that JSON can say."""
    made = [tree(rng, big=big) if rng.random() < 0.6 else lookalike(rng) for _ in range(count)]
    return [*made, deep(rng, 90)]


def documents(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Make documents with an `_id` of every kind, and without; no key begins with a dollar sign."""
    made = []
    for number in range(count):
        members = {
            str(place): tree(rng, dollars=False) for place in range(rng.choice((0, 1, 1, 2, 4)))
        }
        found = tree(rng, dollars=False)
        members |= found if isinstance(found, dict) else {"v": found}
        members.pop("_id", None)
        ids: dict[str, Any] = {
            "text": f"id-{number}",
            "number": number,
            "lookalike": {"__type__": rng.choice(("datetime", "x", "uuid")), "__value__": number},
            "nested": {"n": number, "v": lookalike(rng)},
        }
        kind = rng.choice((*ids, None))
        if number == 0:
            members["long"] = [lookalike(rng) | {"n": n} for n in range(8000)]  # over 256 KiB
            members["long"] = without_dollars(members["long"])
        made.append(members if kind is None else {"_id": without_dollars(ids[kind]), **members})
    return made


async def send(path: str, rng: random.Random, gateway: Any, mongo_url: str) -> tuple[str, int]:
    """Send values along one path, and compare what arrives."""
    paths = Paths(gateway, mongo_url, rng)
    if path in FORMS:
        sent: list[Any] = documents(rng, FORMS[path])
        arrived = await paths.stored(sent, path)
    else:
        sent = values(rng, PATHS[path], big=path != "scheduled")
        arrived = await getattr(paths, path)(sent)
    for one, other in zip(sent, arrived, strict=True):
        assert exact(other) == exact(one), f"{path}: FUZZ_SEED={SEED}"
    return path, len(sent)


SEED = seed()


@pytest.mark.timeout(budget_s() + 180)
async def test_json_arrives_as_it_was_sent(
    gateway, amqp_url: str, redis_url: str, mongo_url: str, tmp_path: Path
):
    deployment = Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app=APP,
        env={"MONGO_URL": mongo_url, "HEALTH_FILE": str(tmp_path / "alive")},
    )
    print(f"FUZZ_SEED={SEED}")  # noqa: T201  # to repeat it
    counts: dict[str, int] = {}
    async with (
        deployment.worker("threads", name="t", concurrency=4),
        deployment.worker("prefork", name="p", concurrency=2),
        deployment.worker("asyncio", name="a", concurrency=4),
    ):
        for number in rounds():
            every = await asyncio.gather(
                *(
                    send(path, random.Random(f"{SEED} {number} {path}"), gateway, mongo_url)
                    for path in (*PATHS, *FORMS)
                )
            )
            for path, count in every:
                counts[path] = counts.get(path, 0) + count
    print(number + 1, "rounds", counts)  # noqa: T201  # what `make fuzz` reports
