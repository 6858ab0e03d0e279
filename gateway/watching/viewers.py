"""Who opens a stream: by key or by ticket, and which tasks they may watch."""

from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from gateway.access.auth import CALLER, Caller, require
from gateway.access.known_ids import known_ids
from gateway.access.task_id import IssuedId
from gateway.access.tickets import Ticket
from gateway.errors import Problem
from gateway.parts import DRAIN, KEYRING, TICKETS
from gateway.timestamps import rfc3339
from gateway.watching.events import Event, error_event, state_event
from gateway.watching.states import CURSOR, State


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who watches."""

    app: web.Application
    caller: Caller
    """With what it may see here."""
    key: Caller
    """Whose key opened the stream, or made the ticket."""
    ticket: Ticket | None

    @classmethod
    def of(cls, request: web.Request) -> "Viewer":
        """Who sent the request.

        Raises:
            Problem: `draining`, `invalid-ticket`, `forbidden`.
        """
        if request.app[DRAIN].started:
            raise Problem("draining", "the gateway is shutting down")
        text = request.query.get("ticket")
        if text is None:
            caller = require(request, "read")
            return cls(request.app, caller, caller, None)
        ticket = request.app[TICKETS].check(text)
        request[CALLER] = ticket.caller
        return cls(request.app, ticket.caller, ticket.key, ticket)

    @property
    def welcome(self) -> bool:
        """Whether the key is still there, with the rights that it had at the start."""
        return self.app[KEYRING].holds(self.key)

    @property
    def admin(self) -> bool:
        """Whether tracebacks are shown."""
        return self.caller.admin

    def sort(
        self, wants: Iterable[tuple[str, str | None]]
    ) -> tuple[dict[str, tuple[IssuedId | None, str]], list[Event]]:
        """What may be watched, and what is to be said at once of the rest.

        Args:
            wants: Ids, each with a cursor to resume after.
        """
        asked = dict(wants)
        known = known_ids(self.app, self.caller, asked)
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
