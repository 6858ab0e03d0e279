"""Every refusal that a client can get: one exception, one table.

`queued` says whether the message of a submit or ingest may be in a queue: `no`, `yes` or
`unknown`. It is None for requests that publish nothing.
"""

from dataclasses import dataclass
from typing import Any, Literal

Queued = Literal["no", "yes", "unknown"]

REFUSALS: dict[str, tuple[int, str]] = {
    "malformed-json": (400, "The body is not valid JSON"),
    "invalid-request": (400, "The request is not valid"),
    "unauthenticated": (401, "No valid key"),
    "invalid-ticket": (401, "The ticket is not valid"),
    "forbidden": (403, "The key does not allow this"),
    "forbidden-origin": (403, "The origin is not allowed"),
    "unknown-host": (421, "The host is not served"),
    "unknown-task": (404, "No such task"),
    "unknown-task-id": (404, "This id was never issued to you"),
    "unknown-queue": (404, "No such queue"),
    "unknown-exchange": (404, "No such exchange"),
    "unknown-collection": (404, "No such collection"),
    "unknown-schedule": (404, "No such schedule"),
    "unknown-worker": (404, "No such worker"),
    "unknown-operation": (404, "No such operation"),
    "not-found": (404, "Nothing is here"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "not-acceptable": (406, "Nothing acceptable can be answered"),
    "idempotency-in-flight": (409, "The first request with this key is still in flight"),
    "already-ended": (409, "The task has already ended"),
    "not-terminable": (409, "The running task cannot be stopped"),
    "task-failed": (409, "The task failed"),
    "task-revoked": (409, "The task was revoked"),
    "result-expired": (410, "The task ended and its result is no longer kept"),
    "body-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The media type is not supported"),
    "invalid-arguments": (422, "The arguments do not fit the task"),
    "invalid-document": (422, "A document is not valid"),
    "unroutable": (422, "No queue is bound for this message"),
    "delay-not-supported": (422, "This exchange cannot delay"),
    "idempotency-key-reused": (422, "The key was used with another body"),
    "rate-limited": (429, "The caller's budget, or a quota of the tenant, is used up"),
    "queue-full": (429, "The queue is at its limit"),
    "internal-error": (500, "A fault of the gateway"),
    "broker-unavailable": (503, "RabbitMQ is not reachable"),
    "topology-conflict": (503, "RabbitMQ refuses the layout"),
    "broker-blocked": (503, "RabbitMQ takes no messages at the moment"),
    "overloaded": (503, "The gateway has too much in flight"),
    "draining": (503, "The gateway is shutting down"),
    "state-unavailable": (503, "Redis is not reachable"),
    "history-unavailable": (503, "History is not reachable"),
    "metrics-unavailable": (503, "The management API is not reachable"),
    "unconfirmed": (504, "RabbitMQ did not confirm the message"),
}
"""code → (HTTP status, title). The contract with clients: codes are stable."""

RETRY_AFTER_S = 1
"""What a refusal that passes by itself suggests when it knows no better; seconds."""

RETRYABLE_STATUSES = frozenset({429, 503})
"""Statuses that always carry `Retry-After`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in the content of a request."""

    at: str
    """Where, as a path from the body's root: `$.kwargs.x`."""
    detail: str
    """What is wrong, for a person."""


class Problem(Exception):  # noqa: N818  # RFC 9457's word
    """A refusal told to the client as RFC 9457 problem+json.

    Args:
        code: A key of `REFUSALS`.
        detail: One sentence for a person; no secrets.
        queued: Whether a message may be queued; None where nothing is published.
        task_id: The id, only where `queued` is not `no`.
        faults: Faults in the content, at least one per bad argument.
        retry_after_s: Seconds after which a retry makes sense.
        members: Further members of the problem object.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        queued: Queued | None = None,
        task_id: str | None = None,
        faults: tuple[Fault, ...] = (),
        retry_after_s: int | None = None,
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.queued = queued
        self.task_id = task_id
        self.faults = faults
        self.retry_after_s = retry_after_s
        self.members = members or {}

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return REFUSALS[self.code][0]

    def body(self) -> dict[str, Any]:
        """The problem object, ready for JSON."""
        status, title = REFUSALS[self.code]
        body: dict[str, Any] = {
            "type": f"urn:penstock:problem:{self.code}",
            "title": title,
            "status": status,
            "detail": self.detail,
            "code": self.code,
        }
        body.update(self.particulars())
        return body

    def particulars(self) -> dict[str, Any]:
        """The members of `body` that not every problem has."""
        found: dict[str, Any] = {}
        if self.queued is not None:
            found["queued"] = self.queued
        if self.task_id is not None and self.queued != "no":
            found["id"] = self.task_id
        if self.faults:
            found["errors"] = [{"at": fault.at, "detail": fault.detail} for fault in self.faults]
        found.update(self.members)
        return found


def malformed_json(detail: str) -> Problem:
    """A 400 `malformed-json` for a body that is not JSON as a whole (queued: no)."""
    return Problem("malformed-json", detail, queued="no", faults=(Fault("$", detail),))


def invalid_request(at: str, detail: str, *, queued: Queued | None = None) -> Problem:
    """A 400 `invalid-request` for one fault of the request's form."""
    return Problem("invalid-request", f"{at}: {detail}", queued=queued, faults=(Fault(at, detail),))
