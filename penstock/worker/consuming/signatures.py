"""From a task function to its catalog entry: JSON Schema, doc, version. Pure."""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

from penstock.describe import parameter, schema
from penstock.worker.running.authored import Authored


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


def describe(task: str, authored: Authored, version: str, doc: str | None = None) -> Described:
    """Describe a task by the hints and the docstring of its function.

    Args:
        task: its name.
        authored: its function; what the worker gives it is left out.
        version: of the code that announces.
        doc: the docstring of its class, in place of one that the function lacks.
    """
    signature = authored.signature()
    return Described(
        task=task,
        entry={
            "task": task,
            "doc": inspect.cleandoc(inspect.unwrap(authored.run).__doc__ or doc or ""),
            "version": version,
            "coroutine": authored.is_coroutine,
            "params": [parameter(one) for one in signature.parameters.values()],
            "returns": schema(signature.return_annotation),
        },
    )
