"""The load: submits of every kind at a steady rate, whatever the answers are."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable

import orjson

from devstack.drill.client import Client
from devstack.drill.endings import ENDS
from devstack.drill.receipts import Ledger, TaskReceipt
from devstack.drill.sampling import NONE, Sampling

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
_MOST_OPEN = 200
"""Requests open at once; beyond, the load waits as real clients would."""
_BULK_TASKS = 10
_REVOKED_DUE_S = 20

_KINDS = {
    "plain": 30, "high": 12, "keyed": 14, "delayed": 10, "delayed keyed": 4, "retried": 8,
    "long": 10, "sync": 6, "topic": 3, "fails": 2, "revoked": 3, "bulk": 2,
    "ends": 4, "ends sync": 4,
}  # fmt: skip
"""Kinds of submits and their shares."""
_TASKS = {
    "sync": "demo.add", "fails": "demo.fail", "crash": "drill.crash", "ends": "drill.end",
    "ends sync": "drill.end_sync",
}  # fmt: skip
"""Tasks of the kinds that do not write down their executions."""


class Steady:
    """Calls something at a rate, on average, with a bound of calls that are open.

    Args:
        rate: Calls a second.
        call: What to call.
    """

    def __init__(self, rate: float, call: Callable[[], Awaitable[None]]) -> None:
        self._rate = rate
        self._call = call
        self._room = asyncio.Semaphore(_MOST_OPEN)

    async def run(self, stopping: asyncio.Event) -> None:
        """Call until told to stop, then wait for the calls that are open."""
        async with asyncio.TaskGroup() as group:
            began = time.monotonic()
            for turn in itertools.count():
                wait_s = began + turn / self._rate - time.monotonic()
                if wait_s < -1:  # the machine was busy: no burst to make up for it
                    began -= wait_s
                await asyncio.sleep(max(0.0, wait_s))
                await self._room.acquire()
                if stopping.is_set():
                    return
                group.create_task(self._one())

    async def _one(self) -> None:
        try:
            await self._call()
        finally:
            self._room.release()


class SubmitLoad:
    """Submits tasks.

    Args:
        client: Sends.
        ledger: Keeps the receipts.
        seed: Of the kinds and their arguments.
        sampling: Of their traces.
    """

    def __init__(
        self, client: Client, ledger: Ledger, seed: int, sampling: Sampling = NONE
    ) -> None:
        self._sampling = sampling
        self._client = client
        self._ledger = ledger
        self._random = random.Random(seed)  # noqa: S311  # no secret: load
        self._ways: list[str] = []
        self._run = f"{seed:x}-{time.time_ns():x}"

    def _next_way(self) -> str:
        """Return another way to end, each as often as the others."""
        if not self._ways:
            self._ways = self._random.sample(list(ENDS), len(ENDS))
        return self._ways.pop()

    async def one(self) -> None:
        """Submit one task of some kind."""
        [kind] = self._random.choices(list(_KINDS), list(_KINDS.values()))
        if kind == "bulk":
            await self._bulk()
        else:
            await self.submit(kind)

    async def submit(
        self, kind: str, *, queue: str | None = None, countdown: int | None = None
    ) -> TaskReceipt:
        """Submit one task.

        Args:
            kind: What it does and how it is sent.
            queue: Where it goes; default: where its kind goes.
            countdown: Its delay in seconds; default: its kind's.
        """
        options = self._options(kind)
        seconds = self._random.uniform(0.5, 3) if kind == "long" else 0.0
        failures = self._random.randint(1, 3) if kind == "retried" else 0
        way = self._next_way() if kind in {"ends", "ends sync"} else ""
        if queue is not None:
            options["queue"] = queue
        if countdown is not None:
            options["countdown"] = countdown
        delay_s = options.get("countdown")
        keyed = "keyed" in kind
        receipt = self._ledger.task(
            kind,
            keyed=keyed,
            way=way,
            tallied=kind not in _TASKS,
            due_s=time.time() + delay_s if isinstance(delay_s, int) else 0.0,
        )
        number = receipt.number
        arguments: dict[str, list[object]] = {
            "sync": [number, 1], "fails": [str(number)], "crash": [number],
            "ends": [number, way], "ends sync": [number, way],
        }  # fmt: skip
        request = {
            "task": _TASKS.get(kind, "drill.tally"),
            "args": arguments.get(kind, [number, seconds, failures]),
            "options": options,
        }
        headers = JSON | self._sampling.headers(receipt)
        if keyed:
            headers["Idempotency-Key"] = f"{self._run}-{number}"
        answer, receipt.doubtful = await self._client.until_told(
            "/v1/tasks", body=orjson.dumps(request), headers=headers, repeatable=keyed
        )
        if isinstance(answer.body.get("id"), str):
            receipt.ids.add(answer.body["id"])
        accepted = answer.queued == "yes"
        if accepted:
            receipt.decide("accepted", answer.gateway)
        else:
            receipt.decide("unknown" if receipt.doubtful else "refused", answer.gateway)
        if kind == "revoked" and accepted:
            await self._revoke(receipt)
        return receipt

    def _options(self, kind: str) -> dict[str, object]:
        match kind:
            case "high":
                return {"queue": "high_priority"}
            case "topic":
                return {"exchange": "events", "routing_key": "documents.drill"}
            case "delayed" | "delayed keyed":
                return {"countdown": self._random.randint(1, 15)}
            case "revoked":
                return {"countdown": _REVOKED_DUE_S}
            case "long" | "ends" | "ends sync":
                return {"queue": self._random.choice(["default", "high_priority"])}
        return {}

    async def _revoke(self, receipt: TaskReceipt) -> None:
        [task_id] = receipt.ids
        while time.time() < receipt.due_s - 2:
            answer = await self._client.once("DELETE", f"/v1/tasks/{task_id}")
            if answer.status == 202 and time.time() < receipt.due_s - 1:
                receipt.revoked = answer.body.get("state") == "REVOKED"
            if answer.status in {202, 409}:
                return
            await asyncio.sleep(0.5)

    async def _bulk(self) -> None:
        receipts = [self._ledger.task("bulk") for _ in range(_BULK_TASKS)]
        lines = [
            orjson.dumps({"task": "drill.tally", "args": [receipt.number]}) for receipt in receipts
        ]
        headers = NDJSON | self._sampling.headers(*receipts)
        outcomes, gateway = await self._client.bulk(b"\n".join(lines), len(receipts), headers)
        for receipt, outcome in zip(receipts, outcomes, strict=True):
            if isinstance(outcome.get("id"), str):
                receipt.ids.add(outcome["id"])
            if outcome.get("status") == 202:
                receipt.decide("accepted", gateway)
            elif outcome.get("queued") == "no":
                receipt.decide("refused", gateway)
            else:
                receipt.doubtful = True
                receipt.decide("unknown", gateway)
