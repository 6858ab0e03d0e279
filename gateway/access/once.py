"""One request under an idempotency key, whatever it publishes.

replay ──the first answer is there──► answered again, nothing is published
   └──► check, issue ids ──► claim them ──► publish ──► done: kept as the first answer
                                               ├── refused: the key is free again
                                               └── unknown, in part: a retry uses the same ids
"""

from dataclasses import dataclass
from typing import Protocol

from gateway.access.idempotency import Claim, Idempotency, KeyUse
from gateway.errors import Problem, Queued


@dataclass(frozen=True, slots=True)
class Answered:
    """The JSON of an answer to a request with a key."""

    body: bytes
    replayed: bool = False
    """Whether it answered an earlier request."""
    whole: bool = True
    """False: only a part is queued, and a retry must use the same ids for all of it."""


class Attempt(Protocol):
    """What one request publishes."""

    async def ids(self) -> list[str]:
        """Check the request and issue the ids to publish under; publish nothing.

        Raises:
            Problem: The request is refused (queued: no).
        """

    async def publish(self, claim: Claim) -> Answered:
        """Publish under the ids of a claim, which an earlier try may have left.

        Raises:
            Problem: What was refused, or is unknown.
            ClientLeftError: The client has left.
        """


class ClientLeftError(ConnectionResetError):
    """The client left while its request was being published.

    Args:
        queued: Whether anything of it may be in a queue.
    """

    def __init__(self, queued: Queued) -> None:
        super().__init__("the client has left")
        self.queued = queued


async def once(keys: Idempotency, use: KeyUse, attempt: Attempt) -> Answered:
    """Publish a request whose key was not used before, else answer as the first time.

    Args:
        keys: Keeps the keys.
        use: The key, and what is asked under it.
        attempt: Publishes.

    Raises:
        Problem: `idempotency-key-reused`, `idempotency-in-flight`, `state-unavailable`,
            `rate-limited` (queued: no); what the attempt raises.
        ClientLeftError: As the attempt.
    """
    first = await keys.replay(use)
    if first is not None:
        return Answered(first, replayed=True)
    claim = await keys.claim(use, await attempt.ids())
    if claim.answer is not None:
        return Answered(claim.answer, replayed=True)
    try:
        answered = await attempt.publish(claim)
    except (Problem, ClientLeftError) as end:
        await keys.failed(claim, end.queued)
        raise
    if answered.whole:
        await keys.done(claim, answered.body)
    else:
        await keys.failed(claim, "unknown")
    return answered
