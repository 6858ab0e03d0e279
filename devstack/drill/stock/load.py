"""What the applications of stock Celery are sent, and what is asked about it meanwhile."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from devstack.drill.client import Client
from devstack.drill.load import JSON
from devstack.drill.receipts import Outcome
from devstack.drill.stock.layout import queue_of

FINAL = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
AT_ONCE = 500
"""States that are asked for in one request."""
_ASK_EVERY_S = 1.0
_ASKED = 300
"""The last so many tasks are asked for."""
_KINDS = {
    "plain": 30, "long": 10, "keyed": 10, "delayed": 12, "retried": 8, "fails": 4, "chain": 6,
    "revoked": 10, "revoked waiting": 5, "revoked when due": 10, "expires": 3,
}  # fmt: skip
"""Kinds of submits and their shares."""
_CALLED_BACK = 0.5


@dataclass(slots=True, kw_only=True)
class StockReceipt:
    """One submit."""

    number: int
    kind: str
    due_s: float = 0.0
    """Unix time before which it must not start; 0: at once."""
    failures: int = 0
    """How often it retries."""
    called_back: bool = False
    outcome: Outcome = "open"
    task_id: str = ""
    """Of the final result."""
    first_id: str = ""
    """Of the task that is published first."""
    revoking: bool = False
    """Whether a revocation was asked for, whatever was answered."""
    revoked_at: float = 0.0
    """Unix time at which a revocation was answered with 202; 0: never."""


@dataclass(slots=True)
class StockLedger:
    """What the applications were sent, and what was told of it."""

    receipts: list[StockReceipt] = field(default_factory=list)
    ends: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    """Every other final state that a gateway has told, and when, by task."""

    def tell(self, state: dict[str, Any]) -> None:
        """Note a state that a gateway told."""
        name, ends = state.get("state", ""), self.ends[state["id"]]
        if name in FINAL and (not ends or ends[-1][1] != name):
            ends.append((time.time(), name))


class StockLoad:
    """Submits to the applications, and asks for states.

    Args:
        client: Sends.
        versions: Of Celery.
        callback_url: Where ends are posted.
        seed: Of the kinds and their arguments.
    """

    def __init__(
        self, client: Client, versions: tuple[str, ...], callback_url: str, seed: int
    ) -> None:
        self._client = client
        self._queues = [queue_of(version) for version in versions]
        self._callback_url = callback_url
        self._random = random.Random(seed)  # noqa: S311  # no secret: load
        self._run = f"stock-{seed:x}-{time.time_ns():x}"
        self.ledger = StockLedger()

    async def one(self) -> None:
        """Submit one task of some kind."""
        chosen = self._random
        [kind] = chosen.choices(list(_KINDS), list(_KINDS.values()))
        queue, delay_s = chosen.choice(self._queues), self._delay_s(kind)
        receipt = StockReceipt(
            number=len(self.ledger.receipts),
            kind=kind,
            due_s=time.time() + delay_s if delay_s else 0.0,
            failures=chosen.randint(1, 2) if kind == "retried" else 0,
            called_back=kind != "chain" and chosen.random() < _CALLED_BACK,
        )
        self.ledger.receipts.append(receipt)
        task: dict[str, Any] = {"task": f"{queue}.tally", "args": [receipt.number]}
        options: dict[str, Any] = {"countdown": delay_s} if delay_s else {}
        if kind in {"long", "revoked waiting", "expires"}:
            task["args"] = [receipt.number, chosen.uniform(0.2, 1.5)]
        if kind == "expires":
            options["expires"] = chosen.uniform(0.3, 5)
        if receipt.failures:
            task["args"] = [receipt.number, 0, receipt.failures]
        if kind == "fails":
            task["task"] = f"{queue}.fail"
        if receipt.called_back:
            options["callback_url"] = self._callback_url
        task["options"] = options
        if kind == "chain":
            task = {"chain": [task, {"task": f"{queue}.add", "args": [1]}]}
        await self._submit(receipt, task)
        if receipt.outcome == "accepted" and kind.startswith("revoked"):
            await self._revoke(receipt)

    def _delay_s(self, kind: str) -> int:
        if kind in {"delayed", "revoked when due"}:
            return self._random.randint(1, 8)
        return 20 if kind == "revoked" else 0

    async def _submit(self, receipt: StockReceipt, task: dict[str, Any]) -> None:
        headers, keyed = dict(JSON), receipt.kind == "keyed"
        if keyed:
            headers["Idempotency-Key"] = f"{self._run}-{receipt.number}"
        path = "/v1/canvas" if receipt.kind == "chain" else "/v1/tasks"
        answer, doubtful = await self._client.until_told(
            path, body=orjson.dumps(task), headers=headers, repeatable=keyed
        )
        receipt.task_id = str(answer.body.get("id", ""))
        receipt.first_id = str(answer.body.get("ids", [receipt.task_id])[0])
        if answer.queued == "yes":
            receipt.outcome = "accepted"
        else:
            receipt.outcome = "unknown" if doubtful else "refused"

    async def _revoke(self, receipt: StockReceipt) -> None:
        """Revoke it: long before it is due, at once, or in the moment when it is."""
        if receipt.kind == "revoked when due":
            at = receipt.due_s + self._random.uniform(-0.5, 1.0)
            await asyncio.sleep(max(0.0, at - time.time()))
        until = receipt.due_s - 2 if receipt.kind == "revoked" else time.time() + 5
        while time.time() < until:
            receipt.revoking = True
            answer = await self._client.once("DELETE", f"/v1/tasks/{receipt.task_id}")
            if answer.status == 202:
                receipt.revoked_at = time.time()
                self.ledger.tell({**answer.body, "id": receipt.task_id})
            if answer.status in {202, 409}:
                return
            await asyncio.sleep(0.3)

    async def watch(self) -> None:
        """Ask for the states of the last tasks, again and again."""
        while True:
            recent = [one.task_id for one in self.ledger.receipts[-_ASKED:] if one.task_id]
            await self.ask(recent)
            await asyncio.sleep(_ASK_EVERY_S)

    async def ask(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Ask for states once; without those that no gateway told."""
        found: dict[str, dict[str, Any]] = {}
        wanted = list(ids)
        for start in range(0, len(wanted), AT_ONCE):
            body = orjson.dumps({"ids": wanted[start : start + AT_ONCE]})
            answer = await self._client.once("POST", "/v1/tasks/status", body=body, headers=JSON)
            for state in answer.body.get("tasks", ()):
                self.ledger.tell(state)
                found[state["id"]] = state
        return found
