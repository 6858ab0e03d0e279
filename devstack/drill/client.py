"""A client as the contract wants it: tries again what was not queued, and knows what it knows not.

accepted   2xx
no         refused, nothing was queued: may be tried again, anywhere
unknown    unconfirmed, or the connection was lost after the request had been sent
"""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
import orjson

from devstack.drill.receipts import Ledger

GIVE_UP_S = 45.0
"""From the first try of a request to the last."""
CONTRACT_S = 6.0
"""Every answer of a submit comes within this time of the end of its body."""
_ANSWER_WITHIN_S = 20.0
_LONGEST_PAUSE_S = 2.0
_WORTH_ANOTHER_TRY = frozenset({429, 503, 409})


@dataclass(slots=True)
class Answer:
    """One answer, or its absence."""

    queued: Literal["yes", "no", "unknown"]
    gateway: int
    body: Any = field(default_factory=dict)
    status: int = 0


class Client:
    """Sends to several gateways in turn.

    Args:
        gateways: Their addresses.
        ledger: Counts the answers.
        seed: Of the order in which gateways are tried.
    """

    def __init__(self, gateways: tuple[str, ...], ledger: Ledger, seed: int) -> None:
        self._gateways = gateways
        self._ledger = ledger
        self._random = random.Random(seed)  # noqa: S311  # no secret: load
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connections' pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=_ANSWER_WITHIN_S, sock_connect=5),
        )

    async def close(self) -> None:
        """Close them."""
        if self._session is not None:
            await self._session.close()

    async def once(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        gateway: int | None = None,
    ) -> Answer:
        """Send one request once."""
        assert self._session is not None  # noqa: S101  # opened by its owner
        chosen = self._random.randrange(len(self._gateways)) if gateway is None else gateway
        began = time.monotonic()
        try:
            async with self._session.request(
                method, self._gateways[chosen] + path, data=body, headers=headers
            ) as response:
                told = await response.json(content_type=None)
        except aiohttp.ClientConnectorError:
            self._count("no connection")
            return Answer("no", chosen)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._count(f"lost: {type(error).__name__}")
            return Answer("unknown", chosen)
        status = response.status
        kind = "keyed" if headers and "Idempotency-Key" in headers else "plain"
        self._time(time.monotonic() - began, f"{method} {path[:15]} {kind} {status}", path)
        told = told if isinstance(told, dict) else {}
        self._count(f"{status} {told.get('code', '')}".strip())
        if status == 207:  # a part of the documents
            return Answer("unknown", chosen, told, status)
        if status < 300:
            return Answer("yes", chosen, told, status)
        queued = told.get("queued")
        if status not in {*_WORTH_ANOTHER_TRY, 504}:
            self._ledger.strange.append(f"{method} {path}: {status} {told}")
        return Answer("no" if queued == "no" else "unknown", chosen, told, status)

    async def until_told(
        self,
        path: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        repeatable: bool,
    ) -> tuple[Answer, bool]:
        """POST until it is accepted, or cannot be tried again, or time is over.

        Args:
            path: Where to.
            body: What.
            headers: With which.
            repeatable: Whether an unknown outcome may be tried again.

        Returns:
            The last answer, and whether any try had an unknown outcome.
        """
        deadline = time.monotonic() + GIVE_UP_S
        pause_s, doubtful = 0.1, False
        while True:
            answer = await self.once("POST", path, body=body, headers=headers)
            if answer.queued == "unknown":
                doubtful = True
            if answer.queued == "yes" or (doubtful and not repeatable):
                return answer, doubtful
            if time.monotonic() > deadline:
                return answer, doubtful
            await asyncio.sleep(pause_s * self._random.uniform(0.5, 1))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def bulk(
        self, body: bytes, count: int, headers: Mapping[str, str]
    ) -> tuple[list[dict[str, Any]], int]:
        """Submit NDJSON once; return the outcome of each line and the gateway.

        A line whose outcome did not come has an empty one. The headers name the media type.
        """
        assert self._session is not None  # noqa: S101  # opened by its owner
        chosen = self._random.randrange(len(self._gateways))
        outcomes: list[dict[str, Any]] = [{} for _ in range(count)]
        url = f"{self._gateways[chosen]}/v1/tasks/bulk?outcomes=all"
        try:
            async with self._session.post(url, data=body, headers=headers) as response:
                self._count(f"{response.status} bulk")
                if response.status != 207:
                    refusal = await response.json(content_type=None)
                    return [dict(refusal) for _ in outcomes], chosen
                async for line in response.content:
                    outcome = orjson.loads(line)
                    if "line" in outcome:
                        outcomes[outcome["line"] - 1] = outcome
        except aiohttp.ClientConnectorError:
            self._count("no connection")
            return [{"queued": "no"} for _ in outcomes], chosen
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._count(f"lost: {type(error).__name__}")
        return outcomes, chosen

    def _count(self, what: str) -> None:
        self._ledger.statuses[what] = self._ledger.statuses.get(what, 0) + 1

    def _time(self, took_s: float, what: str, path: str) -> None:
        if "wait=" in path:
            return
        self._ledger.slowest_s = max(self._ledger.slowest_s, took_s)
        if took_s > CONTRACT_S:
            self._ledger.late[what] = self._ledger.late.get(what, 0) + 1
