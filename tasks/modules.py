"""A team's own tasks: the modules that PENSTOCK_TASKS names."""

import importlib
import traceback
from collections.abc import Iterable
from types import ModuleType

from celery import Celery

from penstock.worker.errors import ConfigurationError
from penstock.worker.running.spec import TaskSpec, register

SPECS = "TASKS"
"""Of a module that lists `TaskSpec` values beside, or instead of, decorating functions."""


def add_modules(app: Celery, names: Iterable[str]) -> None:
    """Import modules of tasks; what they decorate with `@shared_task` is registered thereby.

    Args:
        app: gets the tasks that a module lists as `TASKS`.
        names: of modules that Python finds.

    Raises:
        ConfigurationError: one cannot be imported, or lists something else.
    """
    for name in names:
        specs = getattr(_imported(name), SPECS, ())
        if not all(isinstance(spec, TaskSpec) for spec in specs):
            raise ConfigurationError((f"PENSTOCK_TASKS: {name}.{SPECS} lists what is no TaskSpec",))
        for spec in specs:
            register(app, spec)


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            fault = f"PENSTOCK_TASKS: there is no module {error.name} (PYTHONPATH names its folder)"
            raise ConfigurationError((fault,)) from error
        raise ConfigurationError((_fault(name, error),)) from error
    except Exception as error:
        raise ConfigurationError((_fault(name, error),)) from error


def _fault(name: str, error: Exception) -> str:
    """Say why a module cannot be imported, and where."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename != importlib.__file__
    ]
    place = (own[-1].filename, own[-1].lineno)
    if isinstance(error, SyntaxError):
        place = (error.filename or "", error.lineno)
    said = f"{type(error).__name__}: {error}".split("\n", 1)[0]
    return f"PENSTOCK_TASKS: {name} cannot be imported: {said} ({place[0]}:{place[1]})"
