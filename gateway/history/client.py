"""The client of the history process, and what can go wrong with it: the only mapping."""

import logging
import time
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from gateway.errors import Problem
from penstock.wire.history_queries import SECRET_SCHEME

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 1.5
TIMEOUT_S: Final = 4.0
"""How long a question may take in all; MongoDB is given less."""
LONG_TIMEOUT_S: Final = 30.0
"""Of one that writes down the tasks of an operation."""
_MAX_CONNECTIONS: Final = 32
Answer = TypeVar("Answer")


class HistoryAwayError(Problem):
    """The history process, or its MongoDB, does not answer.

    Args:
        detail: What is wrong.
    """

    def __init__(self, detail: str) -> None:
        super().__init__("history-unavailable", detail, queued=None)


class QueryRefusedError(Exception):
    """The history process takes the question for a wrong one.

    Args:
        code: Its word for that.
        detail: Its sentence.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class _Fault(msgspec.Struct):
    code: str = ""
    detail: str = ""


class HistoryClient:
    """Asks the history process.

    Args:
        url: Where it listens; None: this deployment has none.
        secret: What it wants as a bearer token; may be empty.
    """

    def __init__(self, url: str | None, secret: str) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json"}
        if secret:
            self._headers["Authorization"] = f"{SECRET_SCHEME} {secret}"
        self._session: aiohttp.ClientSession | None = None
        self.away_since: float | None = None
        """Since when no question was answered, monotonic seconds; None: the last one was."""

    def __repr__(self) -> str:
        """Name its address."""
        return f"<HistoryClient {self._url or 'off'}>"

    @property
    def configured(self) -> bool:
        """Whether this deployment keeps history."""
        return self._url is not None

    async def ask(
        self,
        path: str,
        body: Mapping[str, Any],
        kind: type[Answer],
        *,
        within_s: float = TIMEOUT_S,
    ) -> Answer:
        """Ask a question.

        Args:
            path: A route of `penstock.wire.history_queries`.
            body: What that says.
            kind: A struct of its answer.
            within_s: Longest time.

        Raises:
            HistoryAwayError: As a problem: `history-unavailable`.
            QueryRefusedError: The question is wrong.
        """
        if self._url is None:
            raise HistoryAwayError("HISTORY_URL is not set: this deployment keeps no history")
        status, text = await self._exchange(path, msgspec.json.encode(body), within_s)
        if status == 200:
            self.away_since = None
            return msgspec.json.decode(text, type=kind)
        try:
            fault = msgspec.json.decode(text, type=_Fault)
        except msgspec.DecodeError:
            fault = _Fault()
        if status == 400:
            self.away_since = None
            raise QueryRefusedError(fault.code, fault.detail)
        if fault.code == "query-timeout":
            self.away_since = None
            raise HistoryAwayError("the query takes too long; narrow it by since and until")
        self._is_away()
        if status == 401:
            raise HistoryAwayError("history refuses HISTORY_SECRET: it must be the same on both")
        raise HistoryAwayError(fault.detail or f"history answers {status}")

    async def _exchange(self, path: str, body: bytes, within_s: float) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=within_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with self._open().post(
                f"{self._url}{path}", data=body, headers=self._headers, timeout=timeout
            ) as response:
                return response.status, await response.read()
        except TimeoutError as error:
            self._is_away()
            raise HistoryAwayError(f"history did not answer within {within_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._is_away()
            log.debug("history-away", extra={"reason": str(error)})
            raise HistoryAwayError("history cannot be reached") from error

    def _is_away(self) -> None:
        if self.away_since is None:
            self.away_since = time.monotonic()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
