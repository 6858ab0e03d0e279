"""What a route takes, answers and refuses: said beside the route, read by the router and `/docs`.

    web.post("/v1/tasks", submit, operation=SUBMIT)

The schema of a body is the struct that decodes it, the schema of an answer the struct that it is
encoded from. Where an answer is written by hand for speed, a test holds its bytes to the struct.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.api.queries import Parameter
from gateway.http.media_types import JSON
from gateway.http.traits import ANY_HOST, BODILESS, IDEMPOTENT, OPEN, TICKET

JSON_BODY: Final = (
    "malformed-json", "invalid-request", "body-too-large", "unsupported-media-type", "overloaded",
)  # fmt: skip
"""Refusals of a JSON body."""
PUBLISHING: Final = (
    "malformed-json", "invalid-request", "body-too-large", "unsupported-media-type", "forbidden",
    "queue-full", "broker-unavailable", "topology-conflict", "broker-blocked", "overloaded",
    "unconfirmed",
)  # fmt: skip
"""Refusals of what publishes messages."""
RESOLVING: Final = (
    "unknown-task", "unknown-queue", "unknown-exchange", "unroutable", "delay-not-supported",
)  # fmt: skip
"""Refusals of a task by its destination."""
SUBMITTING: Final = (*PUBLISHING, *RESOLVING, "invalid-arguments")
"""Refusals of a submit."""
IDEMPOTENCY: Final = ("idempotency-in-flight", "idempotency-key-reused", "state-unavailable")
"""Refusals of an `Idempotency-Key`."""
READING: Final = ("invalid-request", "unknown-task-id", "result-expired", "state-unavailable")
"""Refusals of a request about a task."""


@dataclass(frozen=True, slots=True)
class Content:
    """A body, or an answer."""

    kind: Any
    """Its type: a struct, or anything that msgspec describes; a tuple of them: any of these."""
    example: Any = None
    """JSON, or text of another media type. The tests post each, and check each against its type."""
    media: str = JSON

    @property
    def kinds(self) -> tuple[Any, ...]:
        """Every type that it may have."""
        return self.kind if isinstance(self.kind, tuple) else (self.kind,)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one status means."""

    words: str
    contents: tuple[Content, ...] = ()


def answer(words: str, *contents: Content) -> Answer:
    """Return the meaning of a status, and what comes with it."""
    return Answer(words, contents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    summary: str
    tag: str
    scope: str | None
    """What the key must be allowed; None: open without a key."""
    answers: Mapping[int, Answer]
    """Status → what it means."""
    body: tuple[Content, ...] = ()
    """What it takes, by media type."""
    body_required: bool = True
    refusals: tuple[str, ...] = ()
    """Codes beyond those that every operation of its kind has."""
    query: tuple[Parameter[Any], ...] = ()
    """Every query parameter that it takes; another is refused."""
    headers: Mapping[str, str] | None = None
    """Headers with a meaning of their own here."""
    idempotent: bool = False
    """Takes `Idempotency-Key`."""
    tickets: bool = False
    """Takes `?ticket=` in place of a key."""
    any_host: bool = False
    """Is served whatever the `Host`."""

    @property
    def traits(self) -> frozenset[str]:
        """What the middleware has to know."""
        said = {
            OPEN: self.scope is None,
            TICKET: self.tickets,
            ANY_HOST: self.any_host,
            IDEMPOTENT: self.idempotent,
            BODILESS: not self.body,
        }
        return frozenset(trait for trait, holds in said.items() if holds)

    @property
    def query_names(self) -> frozenset[str]:
        """The names of its query parameters."""
        ticket = ("ticket",) if self.tickets else ()
        return frozenset((*(one.name for one in self.query), *ticket))


@dataclass(frozen=True, slots=True)
class Served:
    """An operation, and where the application serves it."""

    method: str
    path: str
    """Template without regular expressions: `/v1/tasks/{id}`."""
    operation: Operation
