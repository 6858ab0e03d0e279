"""Virtual hosts of the session's RabbitMQ, used again: to declare the layout takes a second or two.

A virtual host is handed out with the layout that ships declared in it. After the test its messages
are purged and what was added is deleted. Where a test changed or removed something of the layout,
added what cannot be deleted at once or left a connection open, the virtual host is retired instead.

RabbitMQ 3.10 starts a dead-letter worker with each leader of a quorum queue, and one whose queue is
deleted in that moment takes the supervisor of them all down: from then on the node answers 541 to
each declaration. So what is retired is deleted `_SETTLED_S` later.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterable
from functools import cache
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import aio_pika
import aiohttp

from devstack.rabbit import Rabbit
from tests.support.waiting import eventually
from topology.declare import declare
from topology.layout import load
from topology.plan import declarations

_SETTLED_S: Final = 10.0
_CHANNELS: Final = 4
_ENDS: Final = ("source", "destination")
_KINDS: Final = ("queues", "exchanges", "bindings", "policies", "parameters")

Definitions = dict[str, dict[str, dict[str, Any]]]
"""What a virtual host holds, by `_KINDS` and by its JSON."""


class VirtualHosts:
    """The virtual hosts of one node.

    Args:
        rabbit: A node that is up.
    """

    def __init__(self, rabbit: Rabbit) -> None:
        self._rabbit = rabbit
        self._declared: dict[str, Definitions] = {}
        self._free: list[str] = []
        self._retired: list[tuple[float, str]] = []
        self.made = 0
        """How many there were so far."""

    @contextlib.asynccontextmanager
    async def declared(self) -> AsyncIterator[str]:
        """Give the address of one that holds the layout that ships, and no messages."""
        name = self._free.pop() if self._free else await self._make_declared()
        starts = self._rabbit.starts
        try:
            yield self._rabbit.url_of(name)
        finally:
            if self._rabbit.starts == starts and await self._cleaned(name):
                self._free.append(name)
            else:
                self._retire(name)

    @contextlib.asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """Give the address of one with nothing in it."""
        name = await self._make()
        try:
            yield self._rabbit.url_of(name)
        finally:
            self._retire(name)

    async def purge(self, url: str) -> None:
        """Purge until nothing is found: what is dead-lettered meanwhile arrives a moment later."""
        queues = _queues()
        async with await aio_pika.connect(url) as connection:
            channels = [await connection.channel() for _ in range(_CHANNELS)]

            async def purge(number: int) -> int:
                underlay = await channels[number].get_underlay_channel()
                found = 0
                for one in queues[number::_CHANNELS]:
                    # A purge is written to disk, a question is not.
                    if (await underlay.queue_declare(one, passive=True)).message_count:
                        found += (await underlay.queue_purge(one)).message_count or 0
                return found

            while sum(await asyncio.gather(*map(purge, range(_CHANNELS)))):
                pass

    async def _make(self) -> str:
        await self._delete_retired()
        name = f"test-{secrets.token_hex(6)}"
        await self._call("PUT", "vhosts", name)
        self.made += 1
        return name

    async def _make_declared(self) -> str:
        name = await self._make()
        async with await aio_pika.connect(self._rabbit.url_of(name)) as connection:
            await declare(connection, load())
        self._declared[name] = await self._definitions(name)
        return name

    def _retire(self, name: str) -> None:
        self._declared.pop(name, None)
        self._retired.append((time.monotonic() + _SETTLED_S, name))

    async def _delete_retired(self) -> None:
        while self._retired and self._retired[0][0] < time.monotonic():
            await self._rabbit.elected()
            _, name = self._retired.pop(0)
            await self._call("DELETE", "vhosts", name)

    async def _cleaned(self, name: str) -> bool:
        """Bring one back to what was declared, if that can be done at once."""
        try:
            await eventually(lambda: self._unconnected(name), timeout_s=3)
            found, declared = await self._definitions(name), self._declared[name]
            if any(declared[kind].keys() - found[kind].keys() for kind in _KINDS):
                return False
            added = {kind: _without(found[kind], declared[kind]) for kind in _KINDS}
            gone = {one["name"] for one in added["queues"] + added["exchanges"]}
            added["bindings"] = [
                one for one in added["bindings"] if gone.isdisjoint(map(one.get, _ENDS))
            ]
            if added["bindings"] or added["policies"] or added["parameters"]:
                return False
            if any(one["arguments"].get("x-queue-type") == "quorum" for one in added["queues"]):
                return False
            for kind in ("queues", "exchanges"):
                for one in added[kind]:
                    await self._call("DELETE", kind, name, one["name"])
            await self.purge(self._rabbit.url_of(name))
        except (AssertionError, ConnectionError, aiohttp.ClientError):
            return False
        return True

    async def _unconnected(self, name: str) -> bool:
        return not await self._call("GET", "vhosts", name, "connections")

    async def _definitions(self, name: str) -> Definitions:
        found = await self._call("GET", "definitions", name)
        return {
            kind: {json.dumps(each, sort_keys=True): each for each in found[kind]}
            for kind in _KINDS
        }

    async def _call(self, method: str, *path: str) -> Any:
        """Call the management API; what is not there has been deleted."""
        tail = "/".join(quote(part, safe="") for part in path)
        url = f"{self._rabbit.management_url}/api/{tail}"
        body: dict[str, Any] | None = {} if method == "PUT" else None
        async with aiohttp.ClientSession() as http, http.request(method, url, json=body) as answer:
            if answer.status != HTTPStatus.NOT_FOUND:
                answer.raise_for_status()
            text = await answer.read()
            return json.loads(text) if text else None


@cache
def _queues() -> tuple[str, ...]:
    """The queues of the layout that ships."""
    return tuple(queue.name for queue in declarations(load()).queues)


def _without(found: dict[str, dict[str, Any]], declared: Iterable[str]) -> list[dict[str, Any]]:
    return [one for text, one in found.items() if text not in declared]
