"""The load: documents, in batches and alone, with every way to send them again."""

import random
import time

import orjson

from devstack.drill.client import Answer, Client
from devstack.drill.load import JSON, NDJSON
from devstack.drill.receipts import IngestReceipt, Ledger
from devstack.drill.sampling import NONE, Sampling

COLLECTION = "drill"
BIG_BATCH = 1_500
_KINDS = {
    "batch, own _id": 20, "batch, ?key=": 15, "batch, keyed": 15, "batch, once": 15,
    "single, own _id": 10, "single, ?key=": 10, "single, once": 10, "single, keyed": 5,
    "stored": 4, "two batches, own _id": 2, "two batches, keyed": 2,
}  # fmt: skip
"""Kinds of requests and their shares; `once` is sent once more only when nothing was queued."""


class IngestLoad:
    """Sends documents `{"r": receipt, "i": index, …}`.

    Args:
        client: Sends.
        ledger: Keeps the receipts.
        seed: Of the kinds.
        batch: Documents in a batch, on average.
        sampling: Of the traces of requests.
    """

    def __init__(
        self, client: Client, ledger: Ledger, seed: int, batch: int, sampling: Sampling = NONE
    ) -> None:
        self._sampling = sampling
        self._client = client
        self._ledger = ledger
        self._random = random.Random(seed)  # noqa: S311  # no secret: load
        self._run = f"{seed:x}-{time.time_ns():x}"
        self._batch = batch

    async def one(self) -> None:
        """Send one request of some kind."""
        [kind] = self._random.choices(list(_KINDS), list(_KINDS.values()))
        count = self._random.randint(self._batch // 2, self._batch * 3 // 2)
        if kind.startswith("single"):
            count = 1
        elif kind.startswith("two"):
            count = BIG_BATCH
        receipt = self._ledger.ingest(kind, count, repeatable="once" not in kind)
        path, headers, body = self._request(receipt)
        answer, receipt.doubtful = await self._client.until_told(
            path, body=body, headers=headers, repeatable=receipt.repeatable
        )
        _settle(receipt, answer)

    def _request(self, receipt: IngestReceipt) -> tuple[str, dict[str, str], bytes]:
        kind, number = receipt.kind, receipt.number
        own = "own _id" in kind or kind == "stored"
        documents = [
            {
                **({"_id": f"{number}-{index}"} if own else {}),
                "r": number,
                "i": index,
                "x": "x" * 80,
            }
            for index in range(receipt.count)
        ]
        path = f"/v1/ingest/{COLLECTION}"
        if "?key=" in kind:
            path += "?key=r,i"
        if kind == "stored":
            path += "?ack=stored&wait=5"
        headers = JSON if kind.startswith("single") else NDJSON
        headers = headers | self._sampling.headers(receipt)
        if "keyed" in kind:
            headers["Idempotency-Key"] = f"{self._run}-{number}"
        return path, headers, b"\n".join(orjson.dumps(document) for document in documents)


def _settle(receipt: IngestReceipt, answer: Answer) -> None:
    body = answer.body
    if isinstance(body.get("batches"), list):
        receipt.batches.update(body["batches"])
    if answer.queued == "yes":
        receipt.accepted = int(body.get("accepted", body.get("stored", 0)))
        whole = receipt.accepted == receipt.count
        receipt.doubtful = receipt.doubtful or not whole
        receipt.decide("accepted" if whole else "unknown", answer.gateway)
    else:
        receipt.accepted = int(body.get("accepted", 0))
        receipt.decide("unknown" if receipt.doubtful else "refused", answer.gateway)
