"""Ends of tasks that never began, because what they depend on in their canvas ended otherwise.

Celery leaves some of them without an end: the members of a group or of a chord's header that stand
behind a failed task of a chain, a chord that is the body of a failed chord, a chord whose header
has a failed chord in it, everything behind a revoked task. Here each is recorded, and each chord
that waits for one of them ends, too.
"""

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celery import states
from celery.app.task import Context
from celery.exceptions import TaskRevokedError

from penstock.worker.errors import NotNeeded
from penstock.worker.messages.envelope import signature_context
from penstock.worker.results.errbacks import Errbacks, errback_ids


class _Called(threading.local):
    """Errbacks that are being called for the failure that this thread stores."""

    def __init__(self) -> None:
        self.ids: set[str] = set()


class CanvasEnds(Errbacks):
    """What a result backend of Celery does when a task has ended, done thoroughly.

    Stands before Celery's backend in the bases of a class.
    """

    get_task_meta: Any
    store_result: Any
    on_chord_part_return: Any
    hear_of_revocation: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._called = _Called()
        super().__init__(*args, **kwargs)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,  # noqa: FBT001, FBT002  # Celery's
        state: str = states.SUCCESS,
    ) -> None:
        """Store the end of a task, and that its errbacks are not needed."""
        super().mark_as_done(task_id, result, request, store_result, state)
        self._end_unneeded(getattr(request, "errbacks", None))

    def mark_as_failure(
        self,
        task_id: str,
        exc: Any,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,  # noqa: FBT001, FBT002  # Celery's
        call_errbacks: bool = True,  # noqa: FBT001, FBT002
        state: str = states.FAILURE,
    ) -> None:
        """Store the end of a failed task, and that its links are not needed."""
        before = self._called.ids
        if call_errbacks:
            self._called.ids = before | errback_ids(getattr(request, "errbacks", None))
        try:
            super().mark_as_failure(
                task_id, exc, traceback, request, store_result, call_errbacks, state
            )
        finally:
            self._called.ids = before
        self._end_unneeded(getattr(request, "callbacks", None))

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,  # noqa: FBT001, FBT002  # Celery's
        state: str = states.REVOKED,
    ) -> None:
        """Store the end of a revoked task, and that nothing behind it will begin.

        Without a request the worker only heard of it (`celery.worker.control._revoke`).
        """
        if request is None:
            self.hear_of_revocation(task_id, reason)
            return
        super().mark_as_revoked(task_id, reason, request, store_result, state)
        chain = getattr(request, "chain", None)
        self._fail_chain(chain, TaskRevokedError(reason), None, store_result, state)
        self._end_unneeded(getattr(request, "callbacks", None))
        self._end_unneeded(getattr(request, "errbacks", None))

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> Any:
        """Store that a chord's body will not begin because a task of its header failed."""
        exc = sys.exc_info()[1] if exc is None else exc
        before = self._called.ids
        self._called.ids = set(before)
        try:
            answer = super().chord_error_from_stack(callback, exc)  # type: ignore[misc]
            self._fail_chain([callback], exc)
        finally:
            self._called.ids = before
        return answer

    def _call_task_errbacks(self, request: Any, exc: Any, traceback: Any) -> None:
        self._called.ids |= errback_ids(request.errbacks)
        super()._call_task_errbacks(request, exc, traceback)

    def tell_end_again(self, request: Any) -> None:
        """Notify those who wait for a task of its end, however often.

        A worker that died after it stored an end may not have notified the chord, what stands
        behind the task, or the callback.
        """
        meta = self.get_task_meta(request.id)
        state, result = meta["status"], meta["result"]
        if state not in states.READY_STATES:
            return
        if getattr(request, "chord", None):
            self.on_chord_part_return(request, state, result)
        if state in states.PROPAGATE_STATES:
            errbacks = [one for one in request.errbacks or () if errback_ids([one])]
            if state == states.FAILURE and errbacks:  # each starts once, however often it is called
                again = Context(vars(request), errbacks=errbacks)
                self._call_task_errbacks(again, result, meta.get("traceback"))
            self._fail_chain(request.chain, result, meta.get("traceback"), state=state)
            self._end_unneeded(request.callbacks)
        if state != states.FAILURE:
            self._end_unneeded(request.errbacks)
        self.announce_end(request, state)

    def _fail_chain(
        self,
        chain: Iterable[Mapping[str, Any]] | None,
        exc: Any,
        traceback: str | None = None,
        store_result: bool = True,  # noqa: FBT001, FBT002  # Celery's
        state: str = states.FAILURE,
    ) -> None:
        """Tell the end of every task in the signatures, which will never be published."""
        if not isinstance(chain, list | tuple):
            return
        for signature in tasks_of(chain):
            request = signature_context(signature)
            options = signature.get("options") or {}
            if request.id:
                if store_result and state in states.PROPAGATE_STATES:
                    self.store_result(request.id, exc, state, traceback=traceback, request=request)
                if request.chord:
                    # Once more does no harm: the script counts each id once.
                    self.on_chord_part_return(request, state, exc)
                self.announce_end(request, state)
            self._end_unneeded(options.get("link"))
            self._end_unneeded(options.get("link_error"))

    def _end_unneeded(self, signatures: Any) -> None:
        """End the tasks that are linked to another which ended otherwise, and what is behind them.

        An errback that is being called is none of them, though it may be linked twice.
        """
        if not isinstance(signatures, list | tuple):
            signatures = [signatures] if isinstance(signatures, Mapping) else []
        for signature in tasks_of(signatures):
            request = signature_context(signature)
            if request.id in self._called.ids:
                continue
            options = signature.get("options") or {}
            if request.id and not options.get("ignore_result"):
                exc = NotNeeded("the task that it is linked to ended otherwise")
                self.store_result(request.id, exc, states.REVOKED, request=request)
                self.announce_end(request, states.REVOKED)
            for name in ("link", "link_error", "chain"):
                self._end_unneeded(options.get(name))


def tasks_of(signatures: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Every task in signatures, of groups, chains and chords inside them, too."""
    for signature in signatures:
        kwargs = signature.get("kwargs") or {}
        match signature.get("subtask_type"):
            case "group" | "chain":
                yield from tasks_of(kwargs["tasks"])
            case "chord":
                header = kwargs["header"]
                yield from tasks_of([header] if isinstance(header, Mapping) else header)
                if kwargs.get("body") is not None:
                    yield from tasks_of([kwargs["body"]])
            case _:
                yield signature
