r"""What workers announced: the signature of each task, read from Redis in the background.

    hash penstock:catalog   field <task>\n<hash of the schema>   JSON with `seen`, unix seconds

A task can be announced with several schemas while workers of two releases run side by side;
arguments are refused only when no live schema fits.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
import orjson

from gateway.decoding.steps import LARGE_BYTES
from gateway.errors import Fault, Problem
from gateway.redis.client import COMMAND_TIMEOUT_S, RedisClient
from gateway.redis.faults import RedisAwayError, WrongTypeError
from gateway.submitting.arguments import Signature
from gateway.submitting.beginnings import beginnings
from gateway.submitting.worker_records import WorkerRecords
from penstock.looper import Looper
from penstock.wire.announcements import CATALOG_KEY, CATALOG_MAX_AGE_S, WORKERS_KEY

log = logging.getLogger(__name__)

REFRESH_INTERVAL_S = 3.0
"""How often the catalog is read."""

_skip = msgspec.json.Decoder(msgspec.Raw).decode
_positional = msgspec.json.Decoder(list[msgspec.Raw]).decode
_keywords = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NO_KEYWORDS: dict[str, msgspec.Raw] = {}
_EMPTY = msgspec.Raw(b"{}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """One live (task, schema)."""

    signature: Signature
    seen: float
    """When a worker last said so, unix seconds."""
    coroutine: bool
    """Whether the task can be stopped while it runs on every pool."""
    entry: Mapping[str, Any]
    """As announced: task, doc, version, params, returns."""


class Catalog:
    """The live announcements, newest first for each task.

    Args:
        client: Redis; None: nothing is ever announced.
        described: Parameters of tasks of applications whose workers may announce nothing; what
            workers announce of a task wins.
    """

    def __init__(
        self,
        client: RedisClient | None = None,
        described: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({}),
    ) -> None:
        self._client = client
        self._described = {task: (Signature(one),) for task, one in described.items()}
        self._live: dict[str, tuple[Announced, ...]] = {}
        self._signatures: dict[tuple[str, bytes], Signature] = {}
        self._bad: set[str] = set()
        self.workers = WorkerRecords()
        """Who announced, and which queues they consume."""
        self.refreshed_at: float | None = None
        """When the catalog was last read, monotonic seconds."""
        self.redis_answers = True
        """Whether Redis answered the last time."""
        self.looper = Looper(
            "catalog",
            self._turn,
            interval_s=REFRESH_INTERVAL_S,
            deadline_s=3 * COMMAND_TIMEOUT_S,
            expected=(RedisAwayError,),
        )
        """Keeps it fresh."""

    def __repr__(self) -> str:
        """Return how many tasks are announced."""
        return f"<Catalog {len(self._live)} tasks>"

    def check(self, task: str, args: bytes, kwargs: bytes, *, skip: int = 0) -> None:
        """Check raw arguments against what is announced of the task.

        A task that no worker announces may have any arguments, as long as they are JSON.

        Args:
            task: Its name.
            args: A JSON array, UTF-8; bytes, or msgspec's Raw.
            kwargs: A JSON object, UTF-8.
            skip: How many parameters are given by the task before it in a canvas.

        Raises:
            Problem: `invalid-arguments` with a fault per bad argument, `malformed-json`,
                `invalid-request` when args is no array or kwargs no object (queued: no).
        """
        try:
            live = self._live.get(task)
            signatures: Sequence[Signature] = (
                self._described.get(task, ()) if live is None else [one.signature for one in live]
            )
            if not signatures:
                _skip(args)
                _skip(kwargs)
                return
            if len(args) + len(kwargs) <= LARGE_BYTES:
                positional: Sequence[msgspec.Raw] = _positional(args)
                keywords: Mapping[str, msgspec.Raw]
                keywords = _NO_KEYWORDS if kwargs == _EMPTY else _keywords(kwargs)
            else:
                positional, keywords = beginnings(signatures, args, kwargs)
            faults = signatures[0].faults(positional, keywords, skip=skip)
            if not faults:
                return
            for other in signatures[1:]:
                if not other.faults(positional, keywords, skip=skip):
                    return
        except msgspec.ValidationError as error:
            raise _wrong_form(args, error) from None
        except msgspec.DecodeError as error:
            raise _malformed(str(error)) from None
        except UnicodeDecodeError as error:
            raise _malformed(f"not UTF-8: {error.reason}") from None
        except RecursionError:
            raise _malformed("nested too deeply") from None
        raise Problem(
            "invalid-arguments",
            f"{len(faults)} of the arguments of {task!r} do not fit",
            queued="no",
            faults=tuple(faults),
        )

    def announced(self, task: str) -> tuple[Announced, ...]:
        """Return what is announced of one task, newest first."""
        return self._live.get(task, ())

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the names of the announced tasks, sorted."""
        return tuple(sorted(self._live))

    async def refresh(self) -> None:
        """Read the catalog once.

        Raises:
            RedisAwayError: The last catalog stays.
        """
        if self._client is None:
            return
        async with self._client.pipeline() as pipe:
            pipe.hgetall(CATALOG_KEY)
            pipe.hgetall(WORKERS_KEY)
            tasks, workers = await pipe.execute()
        now = time.time()
        self.take(tasks, now)
        self.workers.take(workers, now)
        self.refreshed_at = time.monotonic()

    async def refresh_workers(self) -> None:
        """Read who consumes what; after a failure `redis_answers` says so."""
        if self._client is None:
            return
        try:
            found = await self._client.hgetall(WORKERS_KEY)
        except RedisAwayError:
            self.redis_answers = False
            return
        self.workers.take(found, time.time())
        self.redis_answers = True

    @property
    def looked(self) -> bool:
        """Return whether it was read, or tried in vain: before that, arguments go unchecked."""
        return self.looper.turns > 0

    async def _turn(self) -> None:
        try:
            await self.refresh()
        except RedisAwayError as error:
            self.redis_answers = isinstance(error, WrongTypeError)
            raise
        self.redis_answers = True

    def take(self, found: Mapping[Any, bytes | str], now: float) -> None:
        """Make these the live announcements.

        Args:
            found: The Redis hash.
            now: Unix seconds; entries seen over 30 s before are of workers that are gone.
        """
        live: dict[str, list[Announced]] = {}
        signatures: dict[tuple[str, bytes], Signature] = {}
        names: set[str] = set()
        for field, value in found.items():
            name = field.decode("utf-8", "replace") if isinstance(field, bytes) else field
            names.add(name)
            try:
                entry = orjson.loads(value)
                if now - float(entry["seen"]) > CATALOG_MAX_AGE_S:
                    continue
                # The field names the schema, but the bytes are what arguments are checked against.
                key = (entry["task"], orjson.dumps(entry["params"]))
                signature = self._signatures.get(key) or Signature(entry["params"])
                announced = Announced(
                    signature=signature,
                    seen=float(entry["seen"]),
                    coroutine=bool(entry.get("coroutine")),
                    entry=entry,
                )
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                if name not in self._bad:
                    self._bad.add(name)
                    log.warning("catalog-entry-bad", extra={"field": name, "reason": repr(error)})
                continue
            signatures[key] = signature
            live.setdefault(entry["task"], []).append(announced)
        self._signatures = signatures
        self._bad &= names
        self._live = {
            task: tuple(sorted(entries, key=lambda one: one.seen, reverse=True))
            for task, entries in live.items()
        }


def _wrong_form(args: bytes, error: msgspec.ValidationError) -> Problem:
    """Args is not an array, or kwargs not an object, or a number is out of every range."""
    detail = str(error).replace("`", "")
    if "out of range" in detail:
        return _malformed(detail)
    at = "$.kwargs" if bytes(args).lstrip()[:1] == b"[" else "$.args"
    return Problem("invalid-request", f"{at}: {detail}", queued="no", faults=(Fault(at, detail),))


def _malformed(detail: str) -> Problem:
    return Problem("malformed-json", detail, queued="no", faults=(Fault("$", detail),))
