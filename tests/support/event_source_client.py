"""A client of Server-Sent Events."""

import asyncio
import json
from typing import Any

import aiohttp


class Source:
    """A client of Server-Sent Events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, timeout_s: float = 5) -> Any:
        async with asyncio.timeout(timeout_s):
            fields: dict[str, Any] = {}
            while line := (await self.response.content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
        if not fields:
            return None
        if "data" in fields:
            fields["data"] = json.loads(fields["data"])
        return fields

    async def rest(self) -> list[dict[str, Any]]:
        events = []
        while event := await self.next():
            events.append(event)
        return events
