"""A worker application with tasks that pass on what they are given, in each way that there is.

Started as `celery -A tests.apps.json_app worker`. A task that is given a value of Python which
another task sent along fails unless it is that value.
"""

import json
import os
from typing import Any

from celery import current_task

from penstock.worker.errors import PermanentError, RetryableError
from penstock.worker.running.context import TaskContext
from penstock.worker.running.spec import TaskSpec
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.registry import TASKS
from tests.support.json_shapes import PYTHON_VALUES
from topology.layout import load_from_env


def everything(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return what it is given."""
    return {"args": plain(list(args)), "kwargs": plain(kwargs)}


def given(value: Any) -> Any:
    """Return what it is given, which a client sent."""
    return plain(value)


def returns(value: Any) -> Any:
    """Return what it is given, whatever that is."""
    return value


def again(context: TaskContext[Any], value: Any) -> Any:
    """Return what the second attempt is given."""
    if context.retries == 0:
        raise RetryableError("once more", retry_in_s=1)
    return plain(value)


def delays(value: Any) -> str:
    """Pass on a value with values of Python beside it, and return the id of who gets it."""
    child = app.tasks["demo.delayed"].delay(value, PYTHON_VALUES, beside={"k": value})
    return str(child.id)


def delayed(value: Any, moments: list[Any], beside: dict[str, Any]) -> Any:
    """Try once more as Celery's users do, and return what the second attempt is given."""
    check(moments)
    if repr(beside) != repr({"k": value}):
        raise ValueError(f"{beside!r} is not {value!r}")
    if current_task.request.retries == 0:
        raise current_task.retry(countdown=1)
    return plain(value)


def delays_to_the_dead(value: Any) -> str:
    """Pass on a value with values of Python beside it to a task that is buried."""
    return str(app.tasks["demo.buried"].delay(value, PYTHON_VALUES).id)


def buried(value: Any, moments: list[Any]) -> Any:
    """Return what it is given once it has come back from the dead letters."""
    check(moments)
    if "x-penstock-replay" not in (current_task.request.headers or {}):
        raise PermanentError("not yet")
    return plain(value)


def note(key: str, value: Any) -> None:
    """Append what it is given to a list in Redis."""
    app.backend.client.rpush(key, json.dumps(value))


def gives(value: Any) -> list[Any]:
    """Return a value with values of Python beside it."""
    return [value, PYTHON_VALUES]


def takes(pair: list[Any]) -> Any:
    """Return the value of what the task before returned."""
    value, moments = pair
    check(moments)
    return plain(value)


def takes_all(pairs: list[Any]) -> list[Any]:
    """Return the values of what the tasks of the header returned: the body of a chord."""
    return [takes(pair) for pair in pairs]


def plain(value: Any) -> Any:
    """Return a value of JSON; fail on a value of Python, which a result would show as it was sent.

    Raises:
        TypeError: Some decoder made it.
    """
    if isinstance(value, dict):
        for member in value.values():
            plain(member)
    elif isinstance(value, list):
        for member in value:
            plain(member)
    elif type(value) not in {str, int, float, bool, type(None)}:
        raise TypeError(f"{value!r} is no JSON")
    return value


def check(moments: Any) -> None:
    """Fail unless they are the values of Python that a task sent along."""
    if repr(moments) != repr(list(PYTHON_VALUES)):
        raise ValueError(f"{moments!r} is not what was sent")


EXTRA = (
    TaskSpec("demo.everything", everything),
    TaskSpec("demo.given", given),
    TaskSpec("demo.returns", returns),
    TaskSpec("demo.again", again),
    TaskSpec("demo.delays", delays),
    TaskSpec("demo.delayed", delayed),
    TaskSpec("demo.delays_to_the_dead", delays_to_the_dead),
    TaskSpec("demo.buried", buried),
    TaskSpec("demo.note", note),
    TaskSpec("demo.gives", gives),
    TaskSpec("demo.takes", takes),
    TaskSpec("demo.takes_all", takes_all),
)

app = build_app(WorkerConfig.from_env(os.environ), load_from_env(os.environ), (*TASKS, *EXTRA))
