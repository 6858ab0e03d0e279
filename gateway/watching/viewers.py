"""Who opens a stream: by key or by ticket, and which tasks they may watch."""

from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from gateway.access.auth import CALLER, Caller, require
from gateway.access.keyring import KeyRing
from gateway.access.known_ids import KnownIds
from gateway.access.task_id import IssuedId
from gateway.access.tickets import Ticket, Tickets
from gateway.errors import Problem
from gateway.http.drain import Drain
from gateway.states.state import CURSOR, State
from gateway.timestamps import rfc3339
from gateway.watching.events import Event, error_event, state_event


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who watches."""

    keyring: KeyRing
    known_ids: KnownIds
    caller: Caller
    """With what it may see here."""
    key: Caller
    """Whose key opened the stream, or made the ticket."""
    ticket: Ticket | None

    @property
    def welcome(self) -> bool:
        """Whether the key is still there, with the rights that it had at the start."""
        return self.keyring.holds(self.key)

    @property
    def admin(self) -> bool:
        """Whether tracebacks are shown."""
        return self.caller.admin

    async def sort(
        self, wants: Iterable[tuple[str, str | None]]
    ) -> tuple[dict[str, tuple[IssuedId | None, str]], list[Event]]:
        """What may be watched, and what is to be said at once of the rest.

        Args:
            wants: Ids, each with a cursor to resume after.
        """
        asked = dict(wants)
        known = await self.known_ids.of_tasks(self.caller, asked)
        watched: dict[str, tuple[IssuedId | None, str]] = {}
        said: list[Event] = []
        for task_id, cursor in asked.items():
            if task_id not in known:
                said.append(error_event("unknown-task-id", "never issued to you", task_id))
                continue
            issued = known[task_id]
            if self.ticket is not None and not self.ticket.covers(task_id):
                said.append(error_event("forbidden", "the ticket is for other tasks", task_id))
            elif cursor is not None and not CURSOR.fullmatch(cursor):
                said.append(error_event("invalid-request", "not a cursor", task_id))
            elif issued is not None and not issued.tracked:
                accepted_at = rfc3339(issued.issued_at)
                untracked = State(id=task_id, state="", tracked=False, accepted_at=accepted_at)
                said.append(state_event(untracked))
            else:
                watched[task_id] = (issued, cursor or "")
        return watched, said


class Viewers:
    """Finds out who opens a stream.

    Args:
        drain: Whether the gateway shuts down.
        keyring: Knows the keys.
        tickets: Checks tickets.
        known_ids: Knows who may ask about which tasks.
    """

    def __init__(
        self, drain: Drain, keyring: KeyRing, tickets: Tickets, known_ids: KnownIds
    ) -> None:
        self._drain = drain
        self._keyring = keyring
        self._tickets = tickets
        self._known_ids = known_ids

    def of(self, request: web.Request) -> Viewer:
        """Return who sent the request.

        Raises:
            Problem: `draining`, `invalid-ticket`, `forbidden`.
        """
        if self._drain.started:
            raise Problem("draining", "the gateway is shutting down")
        text = request.query.get("ticket")
        if text is None:
            caller = require(request, "read")
            return Viewer(self._keyring, self._known_ids, caller, caller, None)
        ticket = self._tickets.check(text)
        request[CALLER] = ticket.caller
        return Viewer(self._keyring, self._known_ids, ticket.caller, ticket.key, ticket)
