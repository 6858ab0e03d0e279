"""Random headers, properties and callbacks, published past the gateway onto both pools.

Each message ends recorded or among the dead letters, and every slot works afterwards.
"""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from celery.app.task import Context

from devstack.reserved_headers import CLASSES
from penstock.wire.reserved_names import RESERVED_NAMES
from penstock.worker.messages.envelope import PROTOCOL
from tests.deployment.workers import Deployment
from tests.fuzz.budget import budget_s, rounds, seed
from tests.support.hostile import FOLLOW, QUEUE, Hostile, account, publish, slots_work
from tests.support.waiting import eventually

SEED = seed()
SLOTS = 3
MESSAGES = 150
"""Of a round."""
NAMES = sorted(
    {name for owner in CLASSES for name in dir(owner)} | set(vars(Context())) | RESERVED_NAMES
)
TASKS: dict[str, list[Any]] = {
    "demo.add": [1, 2], "demo.echo": [{"a": 1}], "demo.fail": ["x"], "demo.flaky": [1],
    "demo.sleep": [0.01], "demo.progress": [1, 0.0],
    "demo.permanent": ["x"], "demo.custom": [], "demo.nope": [],
}  # fmt: skip
COROUTINES = ["demo.sleep", "demo.progress"]
"""On the asyncio pool a first delivery of theirs takes a short way past Celery's strategy."""
PATIENT = {"demo.sleep", "demo.progress", "demo.flaky"}
"""They do as they are asked for ages."""
OPTIONS = (
    "queue", "exchange", "routing_key", "priority", "countdown", "eta", "expires", "serializer",
    "compression", "headers", "link", "link_error", "chord", "group_id", "task_id", "producer",
    "connection", "retry_policy", "retry", "shadow", "root_id", "parent_id", "time_limit",
    "stamped_headers", "add_to_parent", "declare", "mandatory", "delivery_mode", "ignore_result",
)  # fmt: skip


class Maker:
    """Makes messages out of a seed.

    Args:
        start: the seed.
        often: tasks of which half of the messages are; none: all are as likely.
    """

    def __init__(self, start: str, often: Sequence[str] = ()) -> None:
        self._random = random.Random(start)
        self._pick = self._random.choice
        self._often_asked = often

    def message(self) -> Hostile:
        """Make a message with a few things wrong in it."""
        often = self._often_asked if self._often(0.5) else ()
        task = self._pick(often or list(TASKS))
        headers: dict[str, Any] = {"task": task}
        for _ in range(self._pick((0, 1, 1, 2, 4))):
            headers[self._name()] = self.value()
        if self._often(0.1):
            headers |= self._times()
        if self._often(0.1):
            name = self._pick(("id", "task", *PROTOCOL))
            headers[name] = self._pick(([], [self.value(4)], {}, {"a": self.value(4)}))
        made = Hostile(
            headers=headers,
            args=self._list() if task not in PATIENT and self._often(0.1) else TASKS[task],
            embed=self._embed() if self._often(0.4) else {},
            properties=self._properties() if self._often(0.4) else {},
        )
        if self._often(0.05):
            made.body = self._bytes()
        return made

    def value(self, depth: int = 0, *, plain: bool = False) -> Any:
        """Make a value of a header, or of JSON alone."""
        kinds: list[Callable[[], Any]] = [
            lambda: None,
            lambda: self._often(0.5),
            lambda: self._pick((0, 1, -1, 7, 2**31, 2**62, -(2**63))),
            lambda: self._pick((0.0, 1.5, -0.5, 1e300, 5e-324)),
            self._text,
        ]
        if depth < 4:
            kinds += [
                lambda: [self.value(depth + 1, plain=plain) for _ in range(self._pick((0, 1, 3)))],
                lambda: {
                    self._name(): self.value(depth + 1, plain=plain)
                    for _ in range(self._pick((0, 1, 3)))
                },
            ]
        if not plain:
            kinds += [
                self._bytes,
                lambda: Decimal(self._random.randrange(10**6)) / 100,
                lambda: datetime.fromtimestamp(self._random.randrange(2**32), UTC).replace(
                    tzinfo=None
                ),
            ]
        return self._pick(kinds)()

    def _often(self, share: float) -> bool:
        return self._random.random() < share

    def _name(self) -> str:
        return self._pick((self._pick(NAMES), self._pick(list(PROTOCOL)), self._text() or "n"))

    def _text(self) -> str:
        return self._pick(
            ("", "x", "demo.add", "é\u2028", "\x00", "-1", "[]", "x" * 250, QUEUE, self._moment())
        )

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._pick((0, 1, 20)))

    def _list(self) -> list[Any]:
        return [self.value(plain=True) for _ in range(self._pick((0, 1, 2)))]

    def _moment(self) -> str:
        # None between seconds and a year from now: it would be waited for.
        ahead_s = self._pick((-(10**9), -1, 0, 0.5, 10**10))
        return (datetime.now(UTC) + timedelta(seconds=ahead_s)).isoformat()

    def _times(self) -> dict[str, Any]:
        return {self._pick(("eta", "expires")): self._moment()}

    def _embed(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name in FOLLOW:
            if self._often(0.4):
                one = self._signature() if self._often(0.7) else self.value(plain=True)
                made[name] = one if name == "chord" or self._often(0.1) else [one]
        if self._often(0.2):
            made[self._name()] = self.value(plain=True)
        return made

    def _signature(self, depth: int = 0) -> dict[str, Any]:
        options = {
            self._pick(OPTIONS): self.value(plain=True) for _ in range(self._pick((0, 1, 2)))
        }
        # What is published so comes back here, or nowhere.
        options.setdefault("queue", QUEUE)
        made: dict[str, Any] = {
            "task": self._pick(list(TASKS)), "args": [], "kwargs": {}, "options": options,
            "subtask_type": None, "immutable": self._often(0.5),
        }  # fmt: skip
        if depth < 3 and self._often(0.3):
            kind = self._pick(("group", "chain", "chord"))
            inner = [self._signature(depth + 1) for _ in range(self._pick((0, 1, 2)))]
            made |= {"task": f"celery.{kind}", "subtask_type": kind, "kwargs": {"tasks": inner}}
            if kind == "chord":
                made["kwargs"] = {"header": inner, "body": self._signature(depth + 1)}
        if self._often(0.1):
            made[self._name()] = self.value(plain=True)
        return made

    def _properties(self) -> dict[str, Any]:
        every: dict[str, Callable[[], Any]] = {
            "content_type": lambda: self._pick(
                ("", "text/plain", "application/x-python-serialize", "application/data", "x" * 99)
            ),
            "content_encoding": lambda: self._pick(("", "latin-1", "binary", "rot13", "x")),
            "priority": lambda: self._random.randrange(256),
            "reply_to": self._text_or_bytes,
            "correlation_id": self._text_or_bytes,
            "expiration": lambda: self._pick((0.001, 1000.0)),
            "timestamp": lambda: self._pick((0, 2**40, 2**63)),
            "type": self._text_or_bytes,
            "app_id": self._text_or_bytes,
            "delivery_mode": lambda: self._pick((1, 2)),
        }
        chosen = self._random.sample(list(every), self._pick((1, 2)))
        return {name: every[name]() for name in chosen}

    def _text_or_bytes(self) -> str | bytes:
        return self._text()[:200] if self._often(0.8) else b"\xff\xfe"


@pytest.mark.timeout(budget_s() + 240)
@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_no_message_takes_a_slot(amqp_url: str, redis_url: str, tmp_path: Path, pool: str):
    print(f"FUZZ_SEED={SEED}")  # noqa: T201  # to repeat it
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    count, begun = 0, time.monotonic()
    async with deployment.worker(pool, "-Q", QUEUE, concurrency=SLOTS) as worker:
        pid = worker.child.pid
        for number in rounds(budget_s() / 2 - 10):
            often = COROUTINES if pool == "asyncio" else ()
            maker = Maker(f"{SEED} {pool} {number}", often)
            messages = [maker.message() for _ in range(MESSAGES)]
            publish(deployment, messages)
            await account(deployment, messages)
            await slots_work(deployment, SLOTS)
            count += len(messages)
        assert worker.child.running
        assert worker.child.pid == pid
    took_s = time.monotonic() - begun
    print(f"{pool}: {count} messages in {took_s:.0f} s, all ended, {SLOTS} slots work")  # noqa: T201
    # RabbitMQ forgets acknowledgements of a channel that is closed while the queue's disk is busy.
    async with deployment.worker(pool, "-Q", QUEUE, concurrency=SLOTS):
        await eventually(lambda: deployment.depth(QUEUE) == 0)
    assert deployment.depth(QUEUE) == 0, "deliveries stayed unacknowledged"
