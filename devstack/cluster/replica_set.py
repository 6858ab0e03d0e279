"""MongoDB as a replica set of three."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from devstack.children import RUN_MARK
from devstack.errors import StartError
from devstack.mongo import Mongo
from devstack.ports import LOOPBACK

SIZE = 3
_NAME = "penstock"
_PRIMARY_WITHIN_S = 60.0
_ASK_EVERY_S = 0.2
_TIMEOUT_MS = 5_000


class ReplicaSet:
    """Three servers, of which one is the primary.

    Args:
        folder: Data of all of them.
        logs: Folder of their logs.
        mark: See `Child`.
    """

    def __init__(self, folder: Path, logs: Path, *, mark: str = RUN_MARK) -> None:
        self.members = [
            Mongo(
                folder / str(number),
                log=logs / f"mongo-{number}.log",
                mark=mark,
                name=f"mongo-{number}",
                replica_set=_NAME,
            )
            for number in range(1, SIZE + 1)
        ]

    @property
    def url(self) -> str:
        """Address of all of them; its path is the database that documents go to."""
        hosts = ",".join(f"{LOOPBACK}:{member.port}" for member in self.members)
        database = self.members[0].database
        return f"mongodb://{hosts}/{database}?replicaSet={_NAME}&w=majority"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start them, and make them a replica set; what still runs at the end is killed.

        Raises:
            StartError: one did not become ready, or there is no primary.
        """
        async with contextlib.AsyncExitStack() as ends:
            for member in self.members:
                ends.push_async_callback(member.kill)
            await asyncio.gather(*(member.start() for member in self.members))
            await self._initiate()
            await self.primary()
            yield

    async def primary(self) -> int:
        """Wait until there is a primary, and return its place.

        Raises:
            StartError: there is none within a minute.
        """
        deadline = time.monotonic() + _PRIMARY_WITHIN_S
        while time.monotonic() < deadline:
            for place, member in enumerate(self.members):
                with contextlib.suppress(PyMongoError):
                    if member.child.running:
                        hello = await self._command(place, {"hello": 1})
                        if hello.get("isWritablePrimary"):
                            return place
            await asyncio.sleep(_ASK_EVERY_S)
        raise StartError(f"no primary of the replica set within {_PRIMARY_WITHIN_S:g} s")

    async def step_down(self) -> None:
        """Have the primary leave its place to another."""
        with contextlib.suppress(AutoReconnect):  # older servers close the connection
            await self._command(await self.primary(), {"replSetStepDown": 30})

    async def _initiate(self) -> None:
        members = [
            {"_id": place, "host": f"{LOOPBACK}:{member.port}"}
            for place, member in enumerate(self.members)
        ]
        with contextlib.suppress(OperationFailure):  # it is one: the folder is used again
            await self._command(0, {"replSetInitiate": {"_id": _NAME, "members": members}})

    async def _command(self, place: int, command: dict[str, Any]) -> dict[str, Any]:
        client: AsyncMongoClient[Any] = AsyncMongoClient(
            LOOPBACK,
            self.members[place].port,
            directConnection=True,
            serverSelectionTimeoutMS=_TIMEOUT_MS,
            socketTimeoutMS=_TIMEOUT_MS,
        )
        async with client:
            return await client.admin.command(command)
