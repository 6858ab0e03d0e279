"""Idempotency keys: the same request twice is published once and answered alike.

    key penstock:idempotency:<tenant>:<sha256 of the key>, kept 24 h, one JSON object

          claim                    confirmed
    (none) ────► in-flight ──────────────────► done     answered again, nothing published
      ▲              │  │ unconfirmed, or no end within 60 s
      └── refused ───┘  └──────────────────► unknown    a retry publishes again under the same ids,
                                                        and cannot free the key any more

The record is written before the publish. A second copy under one id carries `x-penstock-copy`
as the first does, and the worker's start script lets one of them start.
"""

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from multidict import istr

from gateway.access.auth import Caller
from gateway.access.copies import Copy
from gateway.access.quotas import over_quota
from gateway.config import Quotas
from gateway.errors import Problem, Queued, invalid_request
from gateway.redis.client import RedisClient
from gateway.redis.faults import NotCopiedError, RedisAwayError
from penstock.wire.keys import IDEMPOTENCY_PREFIX, KEPT_IDEMPOTENCY_PREFIX

KEEP_S = 86_400
"""How long an answer is kept."""
IN_FLIGHT_S = 60
"""After so long without an end the first request counts as unknown."""
REDIS_TIMEOUT_S = 1.0
"""For each of the two questions before a publish: with its confirm (5 s) an answer comes in 6 s."""
HEADER = istr("Idempotency-Key")
_SANE_KEY = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")


@dataclass(slots=True, kw_only=True)
class Claim:
    """The right to publish for a key, or the first answer."""

    redis_key: str
    usage_key: str
    """Where it is counted what the records of the tenant take."""
    record: dict[str, Any]
    owner: str
    """Also the nonce of this copy."""
    repeated: bool = False
    """Whether an earlier try may have published under these ids."""

    @property
    def answer(self) -> bytes | None:
        """Return the first request's 202 body, when there is one."""
        if self.record["state"] != "done":
            return None
        return str(self.record["answer"]).encode()

    @property
    def task_ids(self) -> list[str]:
        """Return the ids to publish under: one's own, or those of the first try."""
        return list(self.record["ids"])

    @property
    def copies(self) -> list[Copy]:
        """Return what each message of the claim is a copy of."""
        return [Copy(task_id, self.owner) for task_id in self.task_ids]


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key, and what is asked under it."""

    caller: Caller
    key: str
    mark: str
    """Fingerprint of the request."""

    @property
    def redis_key(self) -> str:
        """Return where its record is kept."""
        digest = hashlib.sha256(self.key.encode()).hexdigest()
        return f"{IDEMPOTENCY_PREFIX}{self.caller.tenant}:{digest}"


def key_use(request: web.Request, caller: Caller, key: str, body: bytes) -> KeyUse:
    """Return what a request asks under its key.

    Args:
        request: With the header.
        caller: Whose key it is.
        key: From `key_of`.
        body: The expanded body.
    """
    return KeyUse(caller, key, fingerprint(request, body))


def key_of(request: web.Request) -> str | None:
    """Return the request's idempotency key.

    Raises:
        Problem: `invalid-request` (queued: no) when it is not 1–255 printable characters, or given
            twice.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _SANE_KEY.fullmatch(key):
        raise invalid_request(HEADER, "Expected 1 to 255 printable characters", queued="no")
    if len(request.headers.getall(HEADER)) > 1:
        raise invalid_request(HEADER, "Given twice", queued="no")
    return key


def fingerprint(request: web.Request, body: bytes) -> str:
    """Return what makes two requests the same: method, path, query and expanded body."""
    digest = hashlib.sha256(f"{request.method} {request.raw_path}\n".encode())
    digest.update(body)
    return digest.hexdigest()


class Idempotency:
    """The keys of all gateways, in Redis.

    Args:
        client: Redis.
        quota_bytes: What the records of one tenant may take, of a day.
    """

    def __init__(self, client: RedisClient, quota_bytes: int = Quotas().idempotency_bytes) -> None:
        self._redis = client.within(REDIS_TIMEOUT_S)
        self._quota_bytes = quota_bytes
        self._claim = self._redis.script("idempotency_claim", copied=True)
        self._settle = self._redis.script("idempotency_settle")

    async def replay(self, use: KeyUse) -> bytes | None:
        """Return the first answer, when the same request was answered before.

        Raises:
            Problem: as `claim`.
        """
        redis_key = use.redis_key
        try:
            found = await self._redis.get(redis_key)
        except RedisAwayError as error:
            raise _unavailable(error) from error
        if found is None:
            return None
        record = orjson.loads(found)
        claim = Claim(redis_key=redis_key, usage_key="", record=record, owner="")
        in_flight = record["state"] == "in-flight" and time.time() - record["at"] < IN_FLIGHT_S
        _refuse(record, use.mark, in_flight=in_flight)
        return claim.answer

    async def claim(self, use: KeyUse, task_ids: list[str]) -> Claim:
        """Write down the ids before anything is published under them.

        Args:
            use: The key, and what is asked under it.
            task_ids: Ids to publish under, unless an earlier try has left its own.

        Raises:
            Problem: `idempotency-key-reused`, `idempotency-in-flight`, `state-unavailable`,
                `rate-limited`: the tenant's quota is used up (queued: no).
        """
        owner = secrets.token_hex(8)
        now = time.time()
        tenant, mark, redis_key = use.caller.tenant, use.mark, use.redis_key
        record = {
            "state": "in-flight", "fingerprint": mark, "owner": owner, "at": now, "ids": task_ids,
        }  # fmt: skip
        usage = KEPT_IDEMPOTENCY_PREFIX + tenant
        values: list[str | bytes | float] = [
            *(orjson.dumps(record), mark, now, IN_FLIGHT_S, owner, KEEP_S),
            *(int(now // 3600), self._quota_bytes),
        ]
        uncopied: NotCopiedError | None = None
        try:
            answer = await self._claim(keys=[redis_key, usage], args=values)
        except NotCopiedError as error:
            answer, uncopied = error.answer, error
        except RedisAwayError as error:
            raise _unavailable(error) from error
        if isinstance(answer, int):
            raise over_quota(
                "idempotency",
                f"the idempotency keys of tenant {tenant!r} take all of their "
                f"{self._quota_bytes} bytes of a day",
                retry_after_s=max(1, int((answer + 25) * 3600 - now)),
                queued="no",
            )
        found = orjson.loads(answer)
        repeated = found["ids"] != task_ids
        claim = Claim(
            redis_key=redis_key, usage_key=usage, record=found, owner=owner, repeated=repeated
        )
        own = found["owner"] == owner
        if uncopied is not None and own:
            await self.failed(claim, "no")  # a failover could forget it, and run the task twice
            raise _unavailable(uncopied) from uncopied
        _refuse(found, mark, in_flight=found["state"] == "in-flight" and not own)
        return claim

    async def done(self, claim: Claim, answer: bytes) -> None:
        """Keep the answer of what is confirmed. Without Redis the claim turns unknown by itself."""
        await self._end(claim, {**claim.record, "state": "done", "answer": answer.decode()})

    async def failed(self, claim: Claim, queued: Queued | None) -> None:
        """Free the key when nothing is queued, else keep the ids for a retry.

        What an earlier try published stays unknown, whatever became of this one.
        """
        if queued == "no" and not claim.repeated:
            await self._end(claim, None)
        else:
            await self._end(claim, {**claim.record, "state": "unknown"})

    async def _end(self, claim: Claim, record: dict[str, Any] | None) -> None:
        text = b"" if record is None else orjson.dumps(record)
        try:
            await self._settle(
                keys=[claim.redis_key, claim.usage_key],
                args=[claim.owner, text, int(time.time() // 3600)],
            )
        except RedisAwayError:
            return


def _unavailable(error: RedisAwayError) -> Problem:
    """Return `state-unavailable` (queued: no): better no task than perhaps two."""
    words = f"idempotency keys need Redis, which {error.words}"
    return Problem("state-unavailable", words, queued="no")


def _refuse(record: dict[str, Any], mark: str, *, in_flight: bool) -> None:
    if record["fingerprint"] != mark:
        raise Problem(
            "idempotency-key-reused", "the key was used with another request", queued="no"
        )
    if in_flight:
        raise Problem(
            "idempotency-in-flight",
            "the first request with this key has not ended yet",
            queued="no",
            retry_after_s=1,
        )
