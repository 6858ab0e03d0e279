"""A WebSocket client of the streams."""

import json
from typing import Any

from aiohttp import ClientWebSocketResponse, WSMsgType


class Stream:
    """A WebSocket client that reads what it is told.

    Args:
        socket: An open one.
    """

    def __init__(self, socket: ClientWebSocketResponse[bool]) -> None:
        self.socket = socket

    async def next(self, timeout_s: float = 5) -> dict[str, Any]:
        message = await self.socket.receive(timeout=timeout_s)
        assert message.type is WSMsgType.TEXT, message
        told: dict[str, Any] = json.loads(message.data)
        return told

    async def take(self, count: int, timeout_s: float = 5) -> list[dict[str, Any]]:
        return [await self.next(timeout_s) for _ in range(count)]

    async def subscribe(self, *ids: str, **tasks: Any) -> None:
        request = {"op": "subscribe", "ids": list(ids)} if ids else {"op": "subscribe", **tasks}
        await self.socket.send_json(request)

    async def settled(self) -> list[dict[str, Any]]:
        """Read until the answer to a ping; what was told before it."""
        await self.socket.send_json({"op": "ping"})
        told = []
        while (message := await self.next())["type"] != "pong":
            told.append(message)
        return told
