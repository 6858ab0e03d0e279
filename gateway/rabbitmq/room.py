"""Room in the confirm window: what streams wait for between two messages."""

import asyncio

from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.rabbitmq.confirms import ConfirmWindow


class Room:
    """Who waits until half of the window, or of their tenant's share of it, is free.

    Args:
        config: Bounds of the window.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._most = config.max_inflight_messages
        self._most_bytes = config.max_inflight_bytes
        self.waiting: list[tuple[str, int, asyncio.Future[None]]] = []
        """Tenant, octets, and what resolves when they have room."""

    def there(self, window: ConfirmWindow, tenant: str, size: int) -> bool:
        """Return whether a tenant may publish so many octets, with as much again in reserve."""
        if len(window) * 2 < self._most and window.size * 2 < self._most_bytes:
            return True
        return window.shares.has_room(tenant, size, self._most, self._most_bytes)

    async def wait(self, window: ConfirmWindow, tenant: str, size: int) -> None:
        """Return when there is room.

        Raises:
            Problem: `broker-unavailable` (queued: no) when the connection is lost meanwhile.
        """
        if self.there(window, tenant, size):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((tenant, size, waiter))
        await waiter

    def look(self, window: ConfirmWindow) -> None:
        """End the wait of those who have room now."""
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            tenant, size, waiter = one
            if waiter.done():
                continue
            if self.there(window, tenant, size):
                waiter.set_result(None)
            else:
                self.waiting.append(one)

    def lose(self) -> None:
        """End every wait: the connection is lost."""
        waiting, self.waiting = self.waiting, []
        for _, _, waiter in waiting:
            if not waiter.done():
                waiter.set_exception(
                    Problem("broker-unavailable", "the connection was lost", queued="no")
                )
