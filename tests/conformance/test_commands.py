"""Commands for workers: as Celery's client sends them, and answered as by a stock worker."""

import json
import time
from typing import Any

import pytest
from kombu.connection import Connection

from tests.conformance.conftest import VERSIONS, Celery
from tests.conformance.kinds import ASKED, COMMANDS, QUEUE, STAMPED
from tests.conformance.test_messages import compared, wire
from tests.deployment.gateway import Gateway
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.bare_vhost,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("version", VERSIONS),
]
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "command consume": ("consume", {"queue": QUEUE}),
    "command cancel": ("cancel", {"queue": QUEUE}),
    "command grow": ("pool", {"grow": 2}),
    "command shrink": ("pool", {"grow": -1}),
}
"""Of each of `COMMANDS`: the last part of the path, and the body."""


async def test_commands_for_one_worker_are_celerys(celery: Celery, http: Gateway, version: str):
    async with celery.deployment.worker("prefork", name="stock"):
        node = await eventually(lambda: known(http), 30, 0.2)
        theirs = await celery.client("broadcast", COMMANDS, NODE=node)
        ours = {}
        with Connection(celery.deployment.amqp_url) as connection:
            channel = connection.default_channel
            heard = channel.queue_declare(exclusive=True).queue
            channel.queue_bind(heard, "celery.pidbox")
            for kind, (path, body) in REQUESTS.items():
                at = time.time()
                async with http.post(f"/v1/workers/{node}/{path}", json=body) as answer:
                    assert (await answer.json())["replied"], kind

                def command(method: str = COMMANDS[kind][0]) -> Any:
                    raw = channel.basic_get(heard, no_ack=True)
                    found = raw and json.loads(raw.body)["method"] == method
                    return raw if found else None  # the gateway asks about pools and queues, too

                ours[kind] = [wire(await eventually(command, 10, 0.05), at)]

    theirs = {kind: [one for one in messages if method(one) == COMMANDS[kind][0]]
              for kind, messages in theirs.items()}  # fmt: skip
    compared(version, theirs, ours)


def method(message: dict[str, Any]) -> str:
    return str(message["body"]["method"])


async def known(http: Gateway) -> str | None:
    async with http.get("/v1/workers") as answer:
        workers = (await answer.json())["workers"]
    return next((one["name"] for one in workers if one["status"] == "online"), None)


async def answers_of(celery: Celery, install: str) -> dict[str, Any]:
    """Ask a worker everything, with the library or without it."""
    celery.deployment.env = {"INSTALL": install}
    arguments = ("--autoscale=3,1",)
    async with celery.deployment.worker("prefork", *arguments, name=f"asked{install}") as worker:
        log = worker.child.logged().decode()
        node = next(word for word in log.split() if word.startswith(f"asked{install}@"))
        return await celery.client("ask", ASKED, NODE=node)


async def test_a_worker_with_the_library_answers_as_a_stock_one(celery: Celery, version: str):
    theirs = await answers_of(celery, "")
    ours = await answers_of(celery, "1")

    assert {kind: len(answers) for kind, answers in ours.items()} == dict.fromkeys(ASKED, 1)
    for kind, answers in theirs.items():
        if kind == "revoke_by_stamped_headers" and version == "5.4":
            continue  # it says the letters of a sentence, as a set
        assert told(ours[kind]) == told(answers), kind


def told(answers: Any) -> Any:
    """Leave out what names the process, and the order of what is a set."""
    same = json.loads(json.dumps(answers, sort_keys=True).replace("asked1@", "asked@"))
    return [sorted(one, key=str) if isinstance(one, list) else one for one in same]


async def test_stamps_arrive_and_go_on_as_with_stock_workers(celery: Celery, version: str):
    ends = []
    for install in ("", "1"):
        celery.deployment.env = {"INSTALL": install}
        async with celery.deployment.worker("threads", name=f"stamps{install}", concurrency=8):
            ends.append(await celery.client("run", STAMPED, INSTALL=install))

    assert ends[1] == ends[0]
    assert ends[0]["stamped retry"] == ["SUCCESS", [[1], {"release": 7, "tenant": "acme"}]]
