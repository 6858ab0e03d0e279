"""What is written down of an exception, whatever it is: taken before Celery wraps or pickles it.

An exception is code of others: its text, its arguments, its attributes may raise, be no text, be
endless in depth. Nothing here fails because of that.
"""

import itertools
import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from billiard.einfo import ExceptionInfo
from celery.utils.saferepr import saferepr

from penstock.wire.records import error_record
from penstock.worker.stopping import terminated

MAX_TRACEBACK_CHARS = 64 * 1024
"""Of a longer traceback the beginning and, three times as much, the end are kept."""
MAX_SHOWN_CHARS = 1000
"""Of an exception in a line of the log and in an event."""

_MAX_ARGS_CHARS = 64 * 1024
_MAX_VALUES = 1000
_MAX_DEPTH = 16
_MAX_RELATIVES = 200
"""Causes, contexts and members of groups; with more, only the first are in the traceback."""
_MAX_CHAIN = 20
_NO_TEXT = "<exception str() failed>"
"""What Python prints in place of a text that cannot be made."""

Value = TypeVar("Value")

_TYPED = frozenset((bytes, datetime, date, time, Decimal, UUID))
"""What Celery's JSON keeps the type of, so that its clients can build the exception again."""

_name_of: Callable[[type], str] = type.__dict__["__name__"].__get__
_args_of: Callable[[BaseException], tuple[Any, ...]] = BaseException.__dict__["args"].__get__
traceback_of: Callable[[BaseException], Any] = BaseException.__dict__["__traceback__"].__get__
_cause_of: Callable[[BaseException], Any] = BaseException.__dict__["__cause__"].__get__
_context_of: Callable[[BaseException], Any] = BaseException.__dict__["__context__"].__get__
members_of: Callable[[Any], Any] = BaseExceptionGroup.__dict__["exceptions"].__get__


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception in words. Text only, so that every process and every client can read it."""

    record: dict[str, Any]
    """`penstock.wire.records.error_record`."""
    traceback: str
    """With causes and contexts, as Python prints it."""
    shown: str
    """`repr(exc)`, for one line of a log."""

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Describe an exception. Raises nothing, except to let a process end that was told to."""
        if type(error) is TaskFailed:  # isinstance() asks the exception itself
            return error.failure
        kind = _words(lambda: type(error).__name__) or _words(lambda: _name_of(type(error)))
        text = safe_text(error, _NO_TEXT)
        args = safely(lambda: _arguments(error), None)
        record = error_record(
            kind,
            text,
            _words(lambda: type(error).__module__),
            [text[:MAX_SHOWN_CHARS]] if args is None else args,
            _words(lambda: type(error).__qualname__),
        )
        printed = safely(lambda: _printed(error), None)
        if printed is None:
            printed = safely(lambda: _plainly_printed(error, kind, text), "")
        shown = safely(lambda: str.__str__(repr(error)), f"{kind}({text[:MAX_SHOWN_CHARS]!r})")
        return cls(record, _shortened(clean(printed)), clean(shown[:MAX_SHOWN_CHARS]))

    @classmethod
    def bare(cls, error: BaseException) -> "Failure":
        """Describe an exception by the name of its class alone, when memory is short."""
        kind = _name_of(type(error))
        return cls(error_record(kind, "", "builtins", ()), "", kind)


class TaskFailed(Exception):  # noqa: N818  # it is the word of Celery's event
    """Stands for an exception outside of the call that raised it: in the worker's main process.

    The exception itself may not survive its way there, or may mean something there: Celery's main
    process raises a MemoryError again, and a SystemExit ends it.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        """Return the text of the exception that it stands for."""
        return str(self.failure.record["text"])

    def __repr__(self) -> str:
        """Return how that exception shows itself."""
        return self.failure.shown


def einfo_of(error: BaseException, printed: str, *, internal: bool = False) -> ExceptionInfo:
    """Make Celery's description of an exception without its constructor, which formats it."""
    info = ExceptionInfo.__new__(ExceptionInfo)
    info.type, info.exception, info.tb = type(error), error, None
    info.traceback, info.internal = printed, internal
    return info


def safely(
    call: Callable[[], Value], fallback: Value, through: tuple[type[BaseException], ...] = ()
) -> Value:
    """Call code of others; whatever it raises, return the fallback.

    Args:
        call: the code.
        fallback: what to return when it raises.
        through: what is not its own: an interruption from outside.
    """
    try:
        return call()
    except through:
        raise
    except BaseException:  # it is the point
        if terminated():
            raise
        return fallback


def safe_text(value: object, fallback: str, through: tuple[type[BaseException], ...] = ()) -> str:
    """Return `str(value)` as text that is text in every language."""
    # A subclass of str may come out, with methods of its own.
    return clean(safely(lambda: str.__str__(str(value)), fallback, through))


def clean(text: str) -> str:
    r"""Write what is no text (a lone surrogate, from a file name that is not UTF-8) as `\udc80`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _words(call: Callable[[], Any]) -> str:
    found = safely(call, "")
    return clean(str.__str__(found)) if isinstance(found, str) else ""


def _arguments(error: BaseException) -> list[Any] | None:
    """What to build it of again; None when that is too much, or does not tell."""
    args = safely(lambda: error.args, None)
    if type(args) is not tuple:
        args = _args_of(error)
    if issubclass(type(error), OSError):  # the file's name is not among its arguments
        args = safely(lambda: OSError.__reduce__(error)[1], args)  # type: ignore[arg-type,return-value]
    if len(args) > _MAX_VALUES:
        return None
    budget = _Budget()
    return [budget.plain(value) for value in args]


class _Budget:
    """Counts what goes into a record, so that nothing endless does."""

    def __init__(self) -> None:
        self._values = _MAX_VALUES
        self._chars = _MAX_ARGS_CHARS

    def plain(self, value: Any) -> Any:
        """Return the value when a record can hold it, else how it shows itself."""
        values, chars = self._values, self._chars
        found = safely(lambda: self._plain(value, 0), _Budget)
        if found is not _Budget:
            return found
        self._values, self._chars = values, chars
        shown = safely(lambda: str.__str__(saferepr(value, MAX_SHOWN_CHARS)), "<unprintable>")
        return clean(shown)[:MAX_SHOWN_CHARS]

    def _plain(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self._values -= 1
        if self._values < 0 or depth > _MAX_DEPTH:
            raise ValueError("too much")
        if value is None or kind is bool:
            return value
        if kind is int and -(2**63) <= value < 2**63:
            return value
        if kind is float and math.isfinite(value):
            return value
        if kind is str or kind is bytes:
            self._chars -= len(value)
            if self._chars < 0:
                raise ValueError("too long")
            return clean(value) if kind is str else value
        if kind in _TYPED:
            return value
        if kind is list or kind is tuple:
            return [self._plain(one, depth + 1) for one in value]
        if kind is dict and not any(type(name) is not str or "__" in name for name in value):
            return {clean(name): self._plain(one, depth + 1) for name, one in value.items()}
        raise TypeError("no value of JSON")


def _printed(error: BaseException) -> str | None:
    """As Python prints it; None when it has more relatives than anybody reads."""
    if len(list(itertools.islice(_relatives(error), _MAX_RELATIVES + 1))) > _MAX_RELATIVES:
        return None
    return "".join(traceback.format_exception(error))


def _relatives(error: BaseException) -> Iterator[BaseException]:
    """It, its causes and contexts, the members of groups, and theirs."""
    seen, left = {id(error)}, [error]
    while left:
        one = left.pop()
        yield one
        members = members_of(one) if issubclass(type(one), BaseExceptionGroup) else ()
        for other in (_cause_of(one), _context_of(one), *members):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                left.append(other)


def _plainly_printed(error: BaseException, kind: str, text: str) -> str:
    """Without asking the exceptions anything: the places, and the causes by name."""
    parts = [f"{kind}: {text}\n"]
    one: BaseException | None = error
    for _ in range(_MAX_CHAIN):
        if one is None:
            break
        parts.append("".join(traceback.format_tb(traceback_of(one))))
        cause = _cause_of(one)  # which must not be asked whether it is true
        one = _context_of(one) if cause is None else cause
        if one is not None:
            name = _name_of(type(one))
            parts.append(f"{name}: {safe_text(one, _NO_TEXT)[:MAX_SHOWN_CHARS]}\n")
    # As Python does: the oldest first, and each behind its place.
    return "Traceback (most recent call last):\n" + "".join(reversed(parts))


def _shortened(printed: str) -> str:
    if len(printed) <= MAX_TRACEBACK_CHARS:
        return printed
    # A long text first: it is elsewhere, the places are not.
    lines = printed.split("\n")
    printed = "\n".join(
        one if len(one) <= MAX_SHOWN_CHARS else f"{one[:MAX_SHOWN_CHARS]} …" for one in lines
    )
    if len(printed) <= MAX_TRACEBACK_CHARS:
        return printed
    first = MAX_TRACEBACK_CHARS // 4
    return f"{printed[:first]}\n  […]\n{printed[first - MAX_TRACEBACK_CHARS :]}"
