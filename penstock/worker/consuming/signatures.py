"""From a task function to its catalog entry: JSON Schema, doc, version. Pure."""

import dataclasses
import hashlib
import inspect
import json
import logging
from collections.abc import Mapping
from typing import Any

from penstock.describe import anything, parameter, schema
from penstock.worker.running.task_function import TaskFunction

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What is announced of one task."""

    task: str
    entry: Mapping[str, Any]
    """The catalog entry without `seen`."""

    @property
    def field(self) -> str:
        """The field of the catalog's hash: one per task and schema.

        While workers of two releases run side by side both schemas are announced, and the gateway
        refuses arguments only when neither fits.
        """
        shape = [self.entry["params"], self.entry["returns"]]
        digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()
        return f"{self.task}\n{digest[:12]}"


def describe(task: str, authored: TaskFunction, version: str, doc: str | None = None) -> Described:
    """Describe a task by the hints and the docstring of its function.

    Of one whose description JSON cannot hold it is announced that any arguments fit, and logged.

    Args:
        task: its name.
        authored: its function; what the worker gives it is left out.
        version: of the code that announces.
        doc: the docstring of its class, in place of one that the function lacks.
    """
    try:
        text = inspect.cleandoc(inspect.unwrap(authored.run).__doc__ or doc or "")
        entry = _entry(task, authored, version, text, authored.signature())
        json.dumps(entry, allow_nan=False)
    except Exception as error:  # noqa: BLE001  # whatever hints, defaults and docstrings are
        _logger.warning("arguments not checked: task=%s cannot be described: %r", task, error)
        entry = _entry(task, authored, version, "", inspect.signature(anything))
    return Described(task=task, entry=entry)


def _entry(
    task: str, authored: TaskFunction, version: str, doc: str, signature: inspect.Signature
) -> dict[str, Any]:
    return {
        "task": task,
        "doc": doc,
        "version": version,
        "coroutine": authored.is_coroutine,
        "params": [parameter(one) for one in signature.parameters.values()],
        "returns": schema(signature.return_annotation),
    }
