"""Where the ends of tasks are announced: written down in Redis, as long as that is of use.

    submitted ──kept──► published ──► its end is announced, for certain ──forgotten
                  └──► refused (queued: no) ──forgotten

Whatever is forgotten gives its octets back to the quota of its tenant. What an earlier request kept
under the same id stays: its task may be queued.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, NamedTuple

import orjson

from gateway.access.quotas import over_quota
from gateway.config import Quotas
from gateway.errors import Problem
from gateway.redis.client import RedisClient
from gateway.sharing.tenant import TENANT
from penstock.looper import Faults
from penstock.wire.headers import CALLBACK_HEADER, TENANT_HEADER
from penstock.wire.keys import CALLBACK_PREFIX, DAY_S, KEPT_CALLBACKS_PREFIX, OUTSTANDING_KEY

KEPT_S: Final = 8 * DAY_S
"""How long it is known what was delivered, and which URL a task has, beyond its delay."""
FIRST_LOOK_S: Final = 0.25
"""After a task is due: when gateways look for its end."""
_AGAIN_S: Final = 60
"""When to try again while tasks that are due hold the quota: any of them may end."""


class Callback(NamedTuple):
    """Where the end of one task is announced."""

    task_id: str
    url: str
    task: str
    due: int
    """When the task is due, unix seconds."""
    looked_after: bool = False
    """Whether gateways find its end: no worker announces it, so it must be kept."""
    tenant: str = ""
    """Whose the task is; empty: whose request it is."""

    @property
    def member(self) -> str:
        """What stands for it among those that gateways look after; empty: nothing."""
        return f"{self.task_id} {self.due}" if self.looked_after else ""


class KeptCallbacks:
    """Keeps and forgets callbacks.

    Args:
        redis: From `make_redis`.
        quota_bytes: What those of one tenant may take.
    """

    def __init__(self, redis: RedisClient, quota_bytes: int = Quotas().callback_bytes) -> None:
        self._redis = redis
        self._remember = redis.script("callback_remember")
        self._forget = redis.script("callback_forget")
        self._quota_bytes = quota_bytes
        self._unnoted = Faults("callbacks-unnoted", expected=(Problem,))
        self._background: set[asyncio.Task[bool]] = set()

    def __repr__(self) -> str:
        """Name the quota and what is being written."""
        return f"<KeptCallbacks of {self._quota_bytes} bytes, {len(self._background)} writes>"

    @contextlib.asynccontextmanager
    async def kept(self, callbacks: Iterable[Callback]) -> AsyncIterator[None]:
        """Keep callbacks while the body publishes their tasks; forget them if it is refused.

        Args:
            callbacks: Those that are not looked after are kept if Redis is there and the quota
                allows.

        Raises:
            Problem: `rate-limited`, `state-unavailable` (queued: no); what the body raises.
        """
        ours: list[Callback] = []
        noted: list[tuple[Callback, asyncio.Task[bool]]] = []
        published = False
        try:
            for callback in callbacks:
                if not callback.looked_after:
                    noted.append((callback, self._begin(self._keep(callback))))
                elif await self._keep_first(callback):
                    ours.append(callback)
            published = True
            yield
        except Problem as problem:
            published = problem.queued != "no"
            raise
        finally:
            if not published:
                for callback in ours:
                    self._begin(self._take_back(callback))
                for callback, new in noted:
                    self._begin(self._take_back(callback, new))

    def first(
        self, callback: Callback, publish: Callable[[], Awaitable[None]]
    ) -> "asyncio.Future[None]":
        """Publish a task whose callback is kept first; see `Publisher.publish` for the outcomes."""

        async def keep_and_publish() -> None:
            async with self.kept((callback,)):
                await publish()

        return asyncio.create_task(keep_and_publish(), name="keep-callback")

    def remember(self, callback: Callback, confirm: "asyncio.Future[None]") -> None:
        """Keep a callback in the background, if Redis is there and the quota allows.

        By that a revoked task is announced at once; without it, when a worker finds its message.

        Args:
            callback: Of a task that is being published.
            confirm: Its end; a refusal (queued: no) has the callback forgotten.
        """
        new = self._begin(self._keep(callback))

        def settle(confirm: "asyncio.Future[None]") -> None:
            if _refused(confirm):
                self._begin(self._take_back(callback, new))

        confirm.add_done_callback(settle)

    async def find(self, *task_ids: str) -> list[dict[str, Any]]:
        """Return what is kept of each task, as headers of its message; nothing: an empty one.

        Raises:
            RedisAwayError: As a problem.
        """
        keys = [CALLBACK_PREFIX + task_id for task_id in task_ids]
        return [_headers(record) for record in await self._redis.mget(*keys)] if keys else []

    async def forget(self, task_id: str, tenant: str, member: str = "") -> bool:
        """Forget the callback of one task; return False if that was done before.

        Args:
            task_id: The task.
            tenant: Whose it is: `tenant` of what was found.
            member: `Callback.member`.

        Raises:
            RedisAwayError: As a problem.
        """
        return bool(await self._forget(keys=_keys(task_id, tenant), args=[member]))

    async def forget_ended(self, task_id: str) -> None:
        """Forget the callback of a task whose end was announced, if Redis is there."""
        await self._softly(self._forget_found(task_id))

    async def _forget_found(self, task_id: str) -> bool:
        [found] = await self.find(task_id)
        return bool(found) and await self.forget(task_id, tenant_of(found))

    async def _keep_first(self, callback: Callback) -> bool:
        """Keep one; return whether there was none of its task.

        Raises:
            Problem: As of `kept`.
        """
        try:
            return await self._keep(callback)
        except Problem as problem:
            raise Problem(
                problem.code,
                f"the callback cannot be kept: {problem.detail}",
                queued="no",
                retry_after_s=problem.retry_after_s,
                members=problem.members,
            ) from problem

    async def _keep(self, callback: Callback) -> bool:
        tenant, now = TENANT.get(), time.time()
        keep_s = KEPT_S + max(0, callback.due - int(now))
        today = int(now // DAY_S)
        gone = str(today + 1 + keep_s // DAY_S)
        record = {
            CALLBACK_HEADER: callback.url, "task": callback.task, "tenant": tenant, "gone": gone,
        }  # fmt: skip
        if callback.tenant not in {"", tenant}:  # `admin` runs another's schedule
            record[TENANT_HEADER] = callback.tenant
        answer = await self._remember(
            keys=_keys(callback.task_id, tenant),
            args=[
                *(orjson.dumps(record), keep_s, today, gone, self._quota_bytes),
                *(callback.member, callback.due + FIRST_LOOK_S),
            ],
        )
        if isinstance(answer, int):
            raise self._over_quota(tenant, answer, now)
        return bool(answer == b"new")

    def _over_quota(self, tenant: str, first_gone: int, now: float) -> Problem:
        first_due_s = int(first_gone * DAY_S - DAY_S - KEPT_S - now)
        return over_quota(
            "callbacks",
            f"the callbacks of {tenant!r} whose tasks have not ended take its whole quota of "
            f"{self._quota_bytes} bytes, and each gives its room back when its task has ended",
            retry_after_s=min(DAY_S, max(_AGAIN_S, first_due_s)),
        )

    async def _take_back(self, callback: Callback, new: "asyncio.Task[bool] | None" = None) -> bool:
        """Forget the callback of a task that was not published, unless it was kept before."""
        if new is not None and not await new:
            return False
        return await self.forget(callback.task_id, TENANT.get(), callback.member)

    def _begin(self, work: Coroutine[Any, Any, bool]) -> "asyncio.Task[bool]":
        """Do something in the background; the answer is False where it cannot be done."""
        task = asyncio.create_task(self._softly(work), name="keep-callback")
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _softly(self, work: Awaitable[bool]) -> bool:
        try:
            done = await work
        except Problem as problem:
            self._unnoted.failed(problem)
            return False
        self._unnoted.well()
        return done


def _keys(task_id: str, tenant: str) -> list[str]:
    return [CALLBACK_PREFIX + task_id, KEPT_CALLBACKS_PREFIX + tenant, OUTSTANDING_KEY]


def tenant_of(found: dict[str, Any]) -> str:
    """Return whose callback it is; empty: a gateway without keys took it."""
    return str(found.get("tenant", ""))


def _headers(record: bytes | None) -> dict[str, Any]:
    try:
        found = orjson.loads(record or b"{}")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {TENANT_HEADER: found["tenant"], **found} if found.get("tenant") else found


def _refused(confirm: "asyncio.Future[None]") -> bool:
    """Return whether a message is in no queue, for certain."""
    problem = None if confirm.cancelled() else confirm.exception()
    return isinstance(problem, Problem) and problem.queued == "no"
