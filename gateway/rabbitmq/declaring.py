"""The layout on RabbitMQ, as it was declared last: refused, incomplete or whole."""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterable

from aio_pika.abc import AbstractConnection

from gateway.errors import Problem
from penstock.wire.refusals import first_declared_within_s
from topology.conflicts import explain
from topology.declare import DeclarationConflict, DeclarationError, appeared, declare, still_there
from topology.errors import Conflict, Shortfall
from topology.model import Topology

log = logging.getLogger(__name__)


class Declaring:
    """Declares the layout, and knows what came of it.

    Args:
        topology: The layout.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self.tried = asyncio.Event()
        """Set once it was declared, or refused, for the first time."""
        self.done = False
        """Whether it was declared on the present connection."""
        self.error = ""
        """Why it could not be declared, and what to do."""
        self._told = ""
        """The same for clients, who need not know the layout's file."""
        self._conflicts: tuple[Conflict, ...] = ()
        self.shortfall = Shortfall()
        """What of it is not there all the same."""
        self.unsure = False
        """Whether it was recognised, and has yet to be declared on the present connection."""
        self._recognisable = True
        """Not if its last declaration was refused, or lacked something but nodes of queues."""
        self.absent: frozenset[str] = frozenset()
        """The exchanges of it: a message to one would cost the channel, and all in flight on it."""

    def __repr__(self) -> str:
        """Say what came of it."""
        return f"<Declaring: {self}>"

    def __str__(self) -> str:
        """Say what came of it, for /readyz."""
        if self.error:
            return self.error
        return (str(self.shortfall) or "declared") if self.done else "not declared yet"

    @property
    def whole(self) -> bool:
        """Whether all of the layout that is ours is there."""
        return self.done and not self.shortfall.ours

    @property
    def usable(self) -> bool:
        """Whether there is any queue of the layout to publish to."""
        return self.done and not set(self._topology.queues) <= set(self.shortfall.queues)

    def forget(self) -> None:
        """Know no reason any more: RabbitMQ is away, and that is the news."""
        self.error = ""
        self._conflicts = ()

    async def ensure(self, connection: AbstractConnection) -> None:
        """Recognise it, or declare it.

        At the first time it is declared all the same, as it may not be that of RabbitMQ, for as
        long as that takes where no node is silent.

        Args:
            connection: An open one.

        Raises:
            DeclarationError: RabbitMQ refuses it; `error` says why.
        """
        began = time.monotonic()
        if not await self._recognise(connection):
            await self.declare(connection)
        elif not self.tried.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(first_declared_within_s(time.monotonic() - began)):
                    await self.declare(connection)

    async def declare(self, connection: AbstractConnection) -> None:
        """Declare it.

        Args:
            connection: An open one.

        Raises:
            DeclarationError: RabbitMQ refuses it; `error` says why.
        """
        try:
            shortfall = await declare(connection, self._topology)
        except DeclarationError as error:
            self.done = self._recognisable = False
            text = explain(error, self._topology.source)
            if text != self.error:
                log.error("topology-conflict", extra={"detail": text})  # noqa: TRY400  # the text is all
            self.error, self._told = text, explain(error, "of the gateway")
            self._conflicts = error.conflicts if isinstance(error, DeclarationConflict) else ()
            raise
        finally:
            self.tried.set()
        if shortfall and shortfall != self.shortfall:
            log.warning("topology-incomplete", extra={"detail": str(shortfall)})
        self._recognisable = not dataclasses.replace(shortfall, away=())
        self.unsure = False
        self._found(shortfall)

    async def _recognise(self, connection: AbstractConnection) -> bool:
        """Find all of the layout, by name, and change nothing.

        That is answered while a node of a cluster has vanished without a word, where a declaration
        waits until the others have found out. It is declared afterwards, by `complete`.

        Args:
            connection: An open one.

        Returns:
            Whether it is there; else it is to be declared.
        """
        if not self._recognisable:
            return False
        away = await still_there(connection, self._topology)
        if away is None:
            return False
        self.unsure = True
        self._found(Shortfall(away=away))
        return True

    def _found(self, shortfall: Shortfall) -> None:
        self.shortfall = shortfall
        self.absent = frozenset(shortfall.exchanges + shortfall.apps_exchanges)
        self.done = True
        self.forget()

    async def complete(self, connection: AbstractConnection) -> None:
        """Declare it again if it was only recognised, and once something is there that was not.

        Args:
            connection: An open one.

        Raises:
            DeclarationError: RabbitMQ refuses it; `error` says why.
        """
        if self.unsure or await appeared(connection, self._topology, self.shortfall):
            await self.declare(connection)

    def check_queues(self, queues: Iterable[str]) -> None:
        """Refuse what would reach a queue that is not there only after its delay, and be lost.

        Raises:
            Problem: `topology-conflict` (queued: no).
        """
        if self.shortfall.queues and not set(self.shortfall.queues).isdisjoint(queues):
            raise Problem("topology-conflict", str(self.shortfall), queued="no")

    def refusal(self) -> Problem | None:
        """Return why nothing can be published; None: not because of the layout."""
        if not self.error:
            return None
        conflicts = [dataclasses.asdict(conflict) for conflict in self._conflicts]
        members = {"conflicts": conflicts} if conflicts else None
        return Problem("topology-conflict", self._told, queued="no", members=members)

    def no_exchange(self, exchange: str) -> Problem:
        """Return why nothing can be published to one of the `absent`."""
        if exchange in self.shortfall.apps_exchanges:
            detail = (
                f"exchange {exchange!r} is not there: its app's worker declares it at its start"
            )
            return Problem("unroutable", detail, queued="no")
        return Problem("topology-conflict", str(self.shortfall), queued="no")
