"""Celery's Redis result backend, with our scripts, and patience.

Each change of state is stored by one script together with its event and its notice; while Redis is
away each caller waits for it instead of giving up.

What Celery's own backend does beyond states (groups, chords, `AsyncResult.get()`) is untouched.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from celery import states as celery_states
from celery.backends.redis import RedisBackend as CeleryRedisBackend
from celery.exceptions import TaskRevokedError
from kombu.exceptions import EncodeError
from kombu.utils.encoding import bytes_to_str

from penstock.redis_connections import behind_sentinels
from penstock.wire.headers import COPY_HEADER, REPLAY_HEADER, RETRIED_HEADER
from penstock.wire.kept_results import kept_s
from penstock.wire.keys import ASKED, DEATHS_S, REVOKED_S, TaskKeys
from penstock.wire.records import LONG_RECORD_BYTES, PROGRESS, shown
from penstock.wire.redis_url import read, without_login
from penstock.wire.scripts import script
from penstock.worker import tracing
from penstock.worker.celery_versions import decompress_payload
from penstock.worker.ending.ending import ending_of, failure_of
from penstock.worker.ending.failures import safely
from penstock.worker.errors import NotNeeded, ResultTooLarge, TaskError
from penstock.worker.messages.json_values import Form, decode_record, encode_record
from penstock.worker.process import process_token
from penstock.worker.redis_client import sync_retry
from penstock.worker.results.canvas_ends import CanvasEnds
from penstock.worker.results.joining import joining
from penstock.worker.results.original_request import origin, request_as_sent
from penstock.worker.results.parts import KEPT_TRACEBACK_CHARS, cut, extension
from penstock.worker.results.redis_retries import RedisRetries
from penstock.worker.results.script_calls import ScriptCall, ScriptCalls
from penstock.worker.tenancy import charge

_SCALARS = frozenset((str, int, bool, type(None)))
"""Types of results that every writer of JSON writes alike."""


def _unneeded(result: Any) -> bool:
    return isinstance(result, dict) and result.get("exc_type") == NotNeeded.__name__


class RedisBackend(CanvasEnds, RedisRetries, CeleryRedisBackend):  # type: ignore[misc]  # Celery has no types
    """States in Redis as `penstock.wire.records` says."""

    form = Form.STRICT  # of results

    def __init__(self, app: Any, url: str, **options: Any) -> None:
        address = read(url)
        self._sentinels = url if address.sentinels else ""
        super().__init__(app=app, url=address.server, **options)
        # Before the client is made of them: redis-py would wait inside each command, unseen.
        self.connparams["retry"] = sync_retry()
        self.scripts = ScriptCalls(self.client.connection_pool)
        # Of its own in Celery 5.7 (`result_failure_expires`).
        self._failure_expires: Any = getattr(self, "failure_expires", self.expires)
        self._record_prefix: str = bytes_to_str(self.task_keyprefix)
        self._extended = bool(self.app.conf.result_extended)
        self._max_result_bytes: float = self.app.conf.penstock_max_result_bytes or math.inf
        self._copies: int = self.app.conf.penstock_wait_replicas

    def prepare_expires(self, value: Any, type: Any = None) -> int:  # noqa: A002, ARG002  # Celery's
        """Return for how long Redis keeps results, as `kept_s` says; our scripts need a number."""
        return kept_s(super().prepare_expires(value))

    def keys_of(self, task_id: str) -> TaskKeys:
        """Name the keys of a task."""
        return TaskKeys.of(task_id, self._record_prefix)

    def _get_pool(self, **params: Any) -> Any:
        options = behind_sentinels(self._sentinels, params) if self._sentinels else params
        return super()._get_pool(**options)

    def as_uri(self, include_password: bool = False) -> str:  # noqa: FBT001, FBT002  # Celery's
        """Return the address for people."""
        if self._sentinels and not include_password:
            return without_login(self._sentinels)
        return self._sentinels or str(super().as_uri(include_password))

    def _encode(self, data: Any) -> tuple[str, str, str]:
        """Encode what Celery stores of groups and chords."""
        return self.content_type, self.content_encoding, encode_record(data)

    def decode(self, payload: Any) -> Any:
        """Decode a record, a part of a chord or a group, of ours or of a stock worker."""
        return None if payload is None else decode_record(decompress_payload(payload))

    def on_chord_part_return(self, *args: Any, **options: Any) -> Any:
        """Note the end of a header's task; the last one joins them and publishes the body."""
        with joining():
            return super().on_chord_part_return(*args, **options)

    def start(self, request: Any, *, tracked: bool, retried: bool) -> str:
        """Ask whether a delivery may start, and store STARTED if so, in one round trip.

        The arguments are those of `start_call`; waits while Redis is away.

        Raises:
            Reject: the worker stops while Redis is away; the broker keeps the message.
        """
        return self.ask(self.start_call(request, tracked=tracked, retried=retried))

    def start_call(
        self, request: Any, *, tracked: bool, retried: bool, queue: str | None = None
    ) -> ScriptCall:
        """Return the question whether a delivery may start; the answer marks it STARTED.

        Args:
            request: Celery's context of the delivery; `started_at` is set.
            tracked: whether its states are stored.
            retried: whether the message was published by a retry.
            queue: where it came from, if a pause of that queue is to hold it back.

        Returns:
            What is answered with `start`, `revoked`, `ended`, `duplicate` or `paused`.
        """
        headers = request.headers or {}
        delivery = request.delivery_info or {}
        keys = self.keys_of(request.id)
        started = self._meta(request.id, None, celery_states.STARTED, None, request)
        again = "d" if delivery.get("redelivered") else ""
        again += "t" * retried + "p" * (REPLAY_HEADER in headers)
        copy = str(headers.get(COPY_HEADER) or "")
        more = [copy, queue] if queue else [copy] if copy else []
        return ScriptCall(
            script("task_start"),
            (keys.record, keys.events, keys.ended, keys.revoked, keys.copy),
            [self._body(started) if tracked else "", self.expires, again, *more],
            self._copies,
        )

    def ask(self, call: ScriptCall) -> str:
        """Call a script that answers a word; waits while Redis is away.

        Raises:
            Reject: the worker stops while Redis is away; the broker keeps the message.
        """
        return str(bytes_to_str(self._ensure_retryable(self.scripts.call, *call)))

    def suspicion(self, task_id: str, process: str, *, tracked: bool, twice: bool) -> int:
        """Count the processes that died under a redelivered task; waits while Redis is away.

        Args:
            task_id: of the task.
            process: the token of this one.
            tracked: whether the states of the task are stored.
            twice: whether a second one counts as a death, too.

        Returns:
            0; 1: one; 2: more than one.

        Raises:
            Reject: the worker stops while Redis is away; the broker keeps the message.
        """
        keys = self.keys_of(task_id)
        arguments = [process, int(tracked), DEATHS_S, int(twice)]
        return int(
            self._ensure_retryable(
                self.scripts.call, script("task_suspect"), [keys.record, keys.deaths], arguments
            )
        )

    def charge(self, task_id: str) -> int:
        """Count a process that died under a task which had it to itself.

        Returns:
            How many have died so; 0 when it had ended before.

        Raises:
            redis.exceptions.RedisError: Redis is away: it is not counted.
        """
        keys = self.keys_of(task_id)
        return int(self.scripts.call(script("task_charge"), [keys.deaths, keys.ended], [DEATHS_S]))

    def mark_as_done(self, task_id: str, *args: Any, **options: Any) -> None:
        """Store a success and notify those who wait for it, as Celery's method does."""
        ending = ending_of(task_id)
        ending.marking = True
        super().mark_as_done(task_id, *args, **options)
        ending.told = True

    def mark_as_failure(self, task_id: str, *args: Any, **options: Any) -> None:
        """Store a failure and notify those who wait for it, as Celery's method does."""
        ending_of(task_id).marking = True
        super().mark_as_failure(task_id, *args, **options)

    def hear_of_revocation(self, task_id: str, reason: str) -> None:
        """Have a task never start that is to be revoked; one that waits has ended.

        Workers of Celery 5.6 say so of each id that they hear, whoever executes it: what runs goes
        on to its own end. Where a gateway asked, the end is told by who drops the task: there may
        be none of that id.
        """
        keys = self.keys_of(task_id)
        if self.client.get(keys.revoked) == ASKED:
            return
        error = self.prepare_exception(TaskRevokedError(reason))
        body = self._body(self._meta(task_id, error, celery_states.REVOKED, None, None))
        names = (keys.record, keys.events, keys.ended, keys.revoked)
        arguments = [body, self.expires, REVOKED_S]
        self._ensure_retryable(self.scripts.call, script("task_revoke"), names, arguments)

    def prepare_exception(self, exc: BaseException, serializer: Any = None) -> Any:
        """Describe an exception as a record holds it; raises nothing.

        Celery's tracer asks for the exception itself, to pickle it, when its own code raised one.
        """
        return exc if serializer == "pickle" else failure_of(exc).record

    def exception_to_python(self, exc: Any) -> Any:
        """Build an exception from a record, of whatever class it can."""
        if not isinstance(exc, Mapping):
            return super().exception_to_python(exc)
        return safely(lambda: super(RedisBackend, self).exception_to_python(exc), None) or (
            TaskError("{type}: {message}".format_map(shown(exc)))
        )

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        task_id = bytes_to_str(task_id)
        wrote = self.scripts.call(*self.record_call(task_id, result, state, traceback, request))
        ending = ending_of(task_id)
        if state in self.READY_STATES:
            if ending.marking:
                ending.stored = True
            elif wrote and request is not None and request.id == task_id:
                request.ended_by_hand = True  # by `update_state`
        return result

    def take_back(self, request: Any) -> None:
        """Have a task not ended that `update_state` has ended, before it is published again.

        Args:
            request: Celery's context of the execution.
        """
        if not getattr(request, "ended_by_hand", False):
            return
        keys = self.keys_of(request.id)
        body = self._body(self._meta(request.id, None, celery_states.STARTED, None, request))
        names, arguments = (keys.record, keys.events, keys.ended), (body, self.expires)
        self._ensure_retryable(self.scripts.call, script("task_take_back"), names, arguments)
        request.ended_by_hand = False

    def record_call(
        self, task_id: str, result: Any, state: str, traceback: str | None, request: Any
    ) -> ScriptCall:
        """Return what stores a state of a task.

        Args:
            task_id: of the task.
            result: what JSON can hold: its result, or the record of an error.
            state: as Celery calls it.
            traceback: of an error.
            request: Celery's context of the execution; None: there is none.

        Raises:
            ResultTooLarge: its JSON is too long.
            EncodeError: it has no JSON.
        """
        body = self._body(self._meta(task_id, result, state, traceback, request))
        if len(body) > self._max_result_bytes:
            if state not in self.EXCEPTION_STATES:
                self._check_length(len(body))
            kept = (traceback or "")[-KEPT_TRACEBACK_CHARS:]
            body = self._body(self._meta(task_id, cut(result), state, kept, request))
        event = ""
        if len(body) > LONG_RECORD_BYTES:
            short = self._meta(task_id, None, state, None, request)
            event = "{" + self._body({**short, "truncated": True})
        keys = self.keys_of(task_id)
        keep_s = self._failure_expires if state == celery_states.FAILURE else self.expires
        charged: tuple[list[str], list[str | int]] = ([], [])
        if state in self.READY_STATES:
            charged = charge(request, keep_s)
        if state == celery_states.FAILURE:
            charged = charged[0], [*(charged[1] or ("", "")), request_as_sent(self.app, request)]
        return ScriptCall(
            script("task_record"),
            [keys.record, keys.events, keys.ended, keys.revoked, *charged[0]],
            [
                body,
                event,
                state if state in self.READY_STATES else "",
                keep_s,
                int('"started_at"' not in body[:500]),
                # `celery control revoke` lives in the memory of workers; the mark outlives them.
                # A task that was not needed may be after all, when a dead letter is replayed.
                REVOKED_S if state == celery_states.REVOKED and not _unneeded(result) else 0,
                *charged[1],
            ],
            self._copies if state in self.READY_STATES else 0,
        )

    def _meta(
        self, task_id: str, result: Any, state: str, traceback: str | None, request: Any
    ) -> dict[str, Any]:
        """Build a record, the short and the searched-for members first."""
        final = state in self.READY_STATES
        meta = {
            "status": state or PROGRESS,  # of `update_state` with a meta alone
            "task_id": task_id,
            "name": getattr(request, "task", None),
            "worker": getattr(request, "hostname", None),
            "retries": getattr(request, "retries", None),
            "retried_from": (getattr(request, "headers", None) or {}).get(RETRIED_HEADER),
            "started_at": getattr(request, "started_at", None),
            "process": None if final else process_token(),
            "trace_id": tracing.trace_id_of(request),
        }
        meta = {name: value for name, value in meta.items() if value is not None}
        meta["date_done"] = datetime.now(UTC).isoformat() if final else None
        if request is not None:
            meta.update(origin(request, task_id))
        if final and self._extended and request is not None:
            longest = self._max_result_bytes / 4  # of args and kwargs each: half is the result's
            meta.update(extension(request, lambda value: encode_record(value, self.form), longest))
        meta["children"] = self.current_task_children(request) if final else []
        meta["traceback"] = traceback
        meta["result"] = result
        return meta

    def _body(self, meta: dict[str, Any]) -> str:
        """Encode a record without its opening brace.

        Raises:
            EncodeError: it cannot be written as JSON of the form.
        """
        if type(meta["result"]) in _SCALARS:
            with contextlib.suppress(TypeError):  # an integer over 64 bits, half a surrogate pair
                return orjson.dumps(meta).decode()[1:]
        try:
            text = encode_record(meta, self.form)
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(f"the result cannot be stored as JSON: {error}") from error
        return text[1:]

    def check_result(self, result: Any) -> None:
        """Find out early whether a result can be stored.

        Raises:
            ResultTooLarge: its JSON is too long.
            EncodeError: it has no JSON.
        """
        self._check_length(len(self._body({"result": self.prepare_value(result)})))

    def _check_length(self, length: int) -> None:
        if length > self._max_result_bytes:
            raise ResultTooLarge(
                f"the result is {length} bytes of JSON, "
                f"more than the {self._max_result_bytes} that are kept"
            )

    def progress_arguments(self, request: Any, progress: dict[str, Any]) -> dict[str, Any]:
        """Return what the script `task_record` is called with to store a PROGRESS state."""
        keys = self.keys_of(request.id)
        body = self._body(self._meta(request.id, progress, PROGRESS, None, request))
        return {
            "keys": [keys.record, keys.events, keys.ended, keys.revoked],
            "args": [body, "", "", self.expires, 0, 0],
        }

    def log_arguments(self, task_id: str, log: dict[str, str]) -> dict[str, Any]:
        """Return what the script `task_log` is called with to append a line of output."""
        keys = self.keys_of(task_id)
        notice = {"status": "STARTED", "task_id": task_id, "result": None, "log": log}
        return {
            "keys": [keys.record, keys.events, keys.ended],
            "args": [json.dumps({"log": log}), json.dumps(notice)[1:], self.expires],
        }

    def _forget(self, task_id: str) -> None:
        keys = self.keys_of(bytes_to_str(task_id))
        self.client.delete(keys.record, keys.events)
