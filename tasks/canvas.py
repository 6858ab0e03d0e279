"""Ends of tasks that never began, because what they depend on in their canvas has failed.

Celery leaves some of them without an end: the members of a group or of a chord's header that stand
behind a failed task of a chain, a chord that is the body of a failed chord, a chord whose header
has a failed chord in it, everything behind a revoked task. Here each is told, and each chord that
waits for one of them is told, too.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celery import states
from celery.app.task import Context
from celery.exceptions import TaskRevokedError

from tasks.callbacks import CallbackEnds
from tasks.envelope import signature_context


class CanvasEnds(CallbackEnds):
    """What a result backend of Celery does when a task has failed, done thoroughly.

    Stands before Celery's backend in the bases of a class.
    """

    get_task_meta: Any
    store_result: Any
    on_chord_part_return: Any

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,  # noqa: FBT001, FBT002  # Celery's
        state: str = states.REVOKED,
    ) -> None:
        """Store the end of a revoked task, and that nothing behind it will begin."""
        super().mark_as_revoked(task_id, reason, request, store_result, state)
        chain = getattr(request, "chain", None)
        self._fail_chain(chain, TaskRevokedError(reason), None, store_result, state)

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> Any:
        """Store that a chord's body will not begin because a task of its header failed."""
        exc = sys.exc_info()[1] if exc is None else exc
        answer = super().chord_error_from_stack(callback, exc)  # type: ignore[misc]
        self._fail_chain([callback], exc)
        return answer

    def tell_end_again(self, request: Any) -> None:
        """Tell whoever waits for a task what it ended with, however often.

        A worker that died after it stored an end may not have told the chord, or the callback.
        """
        meta = self.get_task_meta(request.id)
        if meta["status"] not in states.READY_STATES:
            return
        if getattr(request, "chord", None):
            self.on_chord_part_return(request, meta["status"], meta["result"])
        self.announce_end(request, meta["status"])

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
            if not request.id:
                continue
            if store_result and state in states.PROPAGATE_STATES:
                self.store_result(request.id, exc, state, traceback=traceback, request=request)
            if request.chord:
                # Once more does no harm: the script counts each id once.
                self.on_chord_part_return(request, state, exc)
            self.announce_end(request, state)

    def _call_task_errbacks(self, request: Any, exc: Any, traceback: Any) -> None:
        """Publish errbacks that have an id as the tasks that they are.

        Celery would call one that takes several arguments in this process, whatever its queue,
        and store nothing under its id; it still does so with those that have none.
        """
        rest = []
        for errback in request.errbacks:
            if not (errback.get("options") or {}).get("task_id"):
                rest.append(errback)
                continue
            self.app.signature(errback).apply_async(
                (request.id,),
                parent_id=request.id,
                root_id=getattr(request, "root_id", None) or request.id,
            )
        if rest:
            others = Context(vars(request), errbacks=rest)
            super()._call_task_errbacks(others, exc, traceback)  # type: ignore[misc]


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
