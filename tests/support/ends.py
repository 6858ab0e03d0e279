"""Exceptions of every kind, as JSON: a test says which, a worker raises it.

A recipe is `{"kind": …, "args": […], "hostile": […], "cause": recipe, "context": recipe,
"members": [recipe, …]}`; an argument is JSON, or `{"value": name}` of what JSON cannot say.
"""

import asyncio
import functools
import random
from collections.abc import Callable, Mapping
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded, TaskError

Recipe = dict[str, Any]

NO_TEXT = "<exception str() failed>"


class NeedsTwo(Exception):  # noqa: N818  # the name is in an example
    """Cannot be made of its `args`: pickle fails."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__(first)
        self.second = second


class Keyword(BaseException):
    """Has no positional arguments, and is no Exception."""

    def __init__(self, *_: object, code: int = 7) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class Outer:
    """Holds a class."""

    class InnerError(LookupError):
        """Its qualified name is not its name."""


class ExplodingError(Exception):
    """Does in its methods what `hostile` says; a new class of each, with the same name."""


def _explode(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("hostile")


def _exit(*_: object, **__: object) -> Any:
    raise SystemExit("hostile")


def _no_text(*_: object) -> Any:
    return 5


class Text(str):
    """A str with methods of its own."""

    __slots__ = ()
    encode = __str__ = __repr__ = __len__ = _explode


class Thing:
    """No value of JSON."""

    def __repr__(self) -> str:
        return "a thing"


class Unprintable:
    """Not even for people."""

    __repr__ = _explode


_HOSTILE: Mapping[str, Mapping[str, Any]] = {
    "str": {"__str__": _explode},
    "str exits": {"__str__": _exit},
    "str is none": {"__str__": _no_text},
    "str is odd": {"__str__": lambda _: Text("odd")},
    "repr": {"__repr__": _explode},
    "args": {"args": property(_explode)},
    "args are none": {"args": None},
    "reduce": {"__reduce__": _explode, "__reduce_ex__": _explode},
    "reduce exits": {"__reduce__": _exit, "__reduce_ex__": _exit},
    "reduce calls": {"__reduce_ex__": lambda *_: (_exit, ())},
    "attributes": {"__getattribute__": _explode},
    "attributes exit": {"__getattribute__": _exit},
    "class": {"__class__": property(_explode)},
    "notes": {"__notes__": property(_explode)},
    "eq": {"__eq__": _explode, "__hash__": _exit},
    "bool": {"__bool__": _explode, "__len__": _exit},
    "module": {"__module__": 5},
}


def _cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@functools.cache  # 25 ms
def _deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


_VALUES: Mapping[str, Callable[[], Any]] = {
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "bytes": lambda: b"x\xff",
    "surrogate": lambda: "a\udc80b",
    "nul": lambda: "a\0b",
    "cycle": _cycle,
    "deep": _deep,
    "long": lambda: "x" * 100_000,
    "many": lambda: list(range(20_000)),
    "huge": lambda: 10**5000,
    "big": lambda: 2**80,
    "thing": Thing,
    "unprintable": Unprintable,
    "odd text": lambda: Text("odd"),
    "envelope": lambda: {"__type__": "nothing", "__value__": 1},
    "set": lambda: {1},
    "keys": lambda: {1: None, (2, 3): b""},
    "exception": lambda: ValueError("inside"),
    "function": lambda: len,
}

_KINDS: Mapping[str, Callable[..., BaseException]] = {
    one.__name__: one
    for one in (
        ValueError, KeyError, OSError, RuntimeError, TypeError, AssertionError, MemoryError,
        RecursionError, StopIteration, StopAsyncIteration, TimeoutError, BlockingIOError,
        ImportError, AttributeError, NameError, UnicodeError, EOFError, BufferError, Warning,
        Exception, BaseException, SystemExit, KeyboardInterrupt, GeneratorExit,
        asyncio.CancelledError, asyncio.InvalidStateError, NeedsTwo, Keyword, TaskError,
        SoftTimeLimitExceeded, ConnectionResetError, NotImplementedError,
    )
} | {
    "Outer.InnerError": Outer.InnerError,
    "FileNotFoundError": lambda *_: FileNotFoundError(2, "No such file", "x.txt"),
    "UnicodeDecodeError": lambda *_: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text"),
    "SyntaxError": lambda *_: SyntaxError("wrong", ("a.py", 1, 2, "x = (")),
}  # fmt: skip


def make(recipe: Recipe) -> BaseException:
    """Build the exception of a recipe."""
    error = _made(recipe)
    if cause := recipe.get("cause"):
        error.__cause__ = make(cause)
    if context := recipe.get("context"):
        BaseException.__dict__["__context__"].__set__(error, make(context))
    return error


def _made(recipe: Recipe) -> BaseException:
    args = [_value(one) for one in recipe.get("args", ())]
    if members := recipe.get("members"):
        return BaseExceptionGroup(recipe.get("text", "group"), [make(one) for one in members])
    if hostile := recipe.get("hostile"):
        body = {name: one for kind in hostile for name, one in _HOSTILE[kind].items()}
        base = BaseException if recipe["kind"] == "BaseException" else ExplodingError
        return type("ExplodingError", (base,), body)(*args)
    try:
        return _KINDS[recipe["kind"]](*args)
    except TypeError:  # too many arguments, or too few
        return NeedsTwo(recipe["kind"], args)


def _value(argument: Any) -> Any:
    if isinstance(argument, dict) and set(argument) == {"value"}:
        return _VALUES[argument["value"]]()
    return argument


def raised_of(recipe: Recipe) -> BaseException:
    """Return what leaves a task that makes it and raises it."""
    try:
        return make(recipe)
    except BaseException as raised:  # noqa: BLE001  # a group asks its members for their class
        return raised


def expected(recipe: Recipe) -> tuple[str, str]:
    """Return the name and the text that must be told."""
    error = raised_of(recipe)
    try:
        text = str.__str__(str(error)).encode("utf-8", "backslashreplace").decode()
    except BaseException:  # noqa: BLE001  # it is hostile
        text = NO_TEXT
    return name_of(error), text


def name_of(error: BaseException) -> str:
    """Return the name of its class without asking it."""
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name


def any_recipe(chosen: random.Random, depth: int = 0) -> Recipe:
    """Make up a recipe."""
    recipe: Recipe = {"kind": chosen.choice(list(_KINDS))}
    recipe["args"] = [_any_argument(chosen) for _ in range(chosen.choice((0, 1, 1, 1, 2, 3)))]
    kind = chosen.random()
    if kind < 0.3:
        recipe["kind"] = chosen.choice(["ExplodingError", "BaseException"])
        recipe["hostile"] = chosen.sample(list(_HOSTILE), chosen.choice((1, 1, 2, 3)))
    elif kind < 0.4 and depth < 3:
        recipe["members"] = [any_recipe(chosen, depth + 1) for _ in range(chosen.randint(1, 3))]
    for relative in ("cause", "context"):
        if depth < 3 and chosen.random() < 0.25:
            recipe[relative] = any_recipe(chosen, depth + 1)
    return recipe


def _any_argument(chosen: random.Random) -> Any:
    if chosen.random() < 0.6:
        return {"value": chosen.choice(list(_VALUES))}
    return chosen.choice(["text", "", "Ünïcode 😀", 1, -1.5, None, True, [1, "a"], {"a": [None]}])
