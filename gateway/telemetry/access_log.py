"""The access log: one line for each request, written when its answer is ready or its stream ends.

    {"time":"2026-01-31T12:00:00.123Z","level":"info","event":"request","logger":"gateway.access",
     "request_id":"5f3a…-1c","key":"web","tenant":"shop","method":"POST","route":"/v1/tasks",
     "status":202,"ms":1.4,"octets_in":61,"octets_out":287}

A line is made where the request ends, and lines of a moment are handed on together: no lock and no
write for each request. While nobody reads them they are dropped, and counted, as all log lines.
"""

import asyncio
import logging
import time
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.telemetry.log import MAX_BATCH_CHARS

HAND_ON_S: Final = 0.1
"""Longest time that a line waits for others."""
_KEPT: Final = 4096
"""Callers and routes whose part of a line is remembered."""

log = logging.getLogger("gateway.access")


class AccessLog:
    """Writes the lines of one process.

    Args:
        enabled: Whether there is one at all; `ACCESS_LOG`.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._lines: list[str] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._second = -1
        self._stamp = ""
        self._callers: dict[Any, str] = {}
        self._routes: dict[Any, str] = {}

    def __repr__(self) -> str:
        """Count what waits."""
        return f"<AccessLog {len(self._lines)} lines wait>"

    def write(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        seconds: float,
        request_id: str,
        caller: tuple[str, str] | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Write the line of a request; does nothing where there is no log.

        Args:
            request: The request.
            response: Its answer.
            seconds: From its headers to its answer, or to the end of the stream.
            request_id: Of characters that JSON does not escape.
            caller: Name and tenant of the key; None: it was refused before that was known.
            trace_id: Of the trace that has it; None: it is not sampled.
        """
        if not self.enabled:
            return
        match = getattr(request, "_match_info", None)
        resource = None if match is None else match.route.resource
        key = (resource, request.method)
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = _route(resource, request.method, self._routes)
        who = self._callers.get(caller)
        if who is None:
            who = self._callers[caller] = _caller(caller, self._callers)
        length = request.content_length
        self._add(
            f'{self._now()},"level":"info","event":"request","logger":"gateway.access",'
            f'"request_id":"{request_id}",{who}{route}"status":{response.status},'
            f'"ms":{seconds * 1e3:.1f},"octets_in":{length if length is not None else "null"},'
            f'"octets_out":{_octets(response)}'
            + ("}" if trace_id is None else f',"trace_id":"{trace_id}"}}')
        )

    def refused(self, status: int, request_id: str, code: str) -> None:
        """Write the line of a request that was refused before it was one.

        Args:
            status: Of the answer.
            request_id: As above.
            code: Of the problem.
        """
        if self.enabled:
            self._add(
                f'{self._now()},"level":"info","event":"request","logger":"gateway.access",'
                f'"request_id":"{request_id}","status":{status},"code":"{code}"}}'
            )

    def _now(self) -> str:
        """Return the beginning of a line; the second of it is written once a second."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime('{"time":"%Y-%m-%dT%H:%M:%S', time.gmtime(second))
        return f'{self._stamp}.{int((now - second) * 1000):03d}Z"'

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HAND_ON_S, self.hand_on)
        elif self._size > MAX_BATCH_CHARS:
            self.hand_on()

    def hand_on(self) -> None:
        """Hand the lines that wait to the log, as one record."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines, self._size = self._lines, [], 0
        if lines and log.isEnabledFor(logging.INFO):
            log.info("requests", extra={"lines": lines})


def _octets(response: web.StreamResponse) -> int:
    """Return the octets of a body, those sent of a stream."""
    text = getattr(response, "text_octets", None)
    if text is not None:
        return int(text)
    body = getattr(response, "_body", None)
    if isinstance(body, bytes):
        return len(body)
    return response.body_length if response.prepared else 0


def _caller(caller: tuple[str, str] | None, known: dict[Any, str]) -> str:
    if len(known) >= _KEPT:
        known.clear()
    if caller is None:
        return ""
    name, tenant = (orjson.dumps(one).decode() for one in caller)
    return f'"key":{name},"tenant":{tenant},'


def _route(resource: Any, method: str, known: dict[Any, str]) -> str:
    if len(known) >= _KEPT:
        known.clear()
    path = "unmatched" if resource is None else str(resource.canonical)
    said, taken = orjson.dumps(method[:32]).decode(), orjson.dumps(path).decode()
    return f'"method":{said},"route":{taken},'
