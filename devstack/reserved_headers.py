"""`python -m devstack.reserved_headers`: write the names that Celery, kombu and AMQP own again.

The gateway refuses them as header names and must not import Celery, so they are written down in
`penstock/wire/reserved_names.py`; a contract test derives them again from what is installed.
"""

import ast
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import amqp.basic_message
import celery.app.task
import celery.app.trace
import celery.canvas
import celery.worker.consumer.consumer
import celery.worker.request
import celery.worker.strategy
import kombu.message
import kombu.messaging
from celery import Celery

TARGET = Path(__file__).parent.parent / "penstock" / "wire" / "reserved_names.py"

READERS = (
    celery.app.task,
    celery.app.trace,
    celery.worker.consumer.consumer,
    celery.worker.request,
    celery.worker.strategy,
    kombu.message,
)
"""Modules that look names up in a message or in what was made of it."""
CLASSES = (celery.app.task.Context, celery.worker.request.Request, kombu.message.Message)
"""Classes that hold a delivery; Celery merges headers into the attributes of the first."""
OPTIONS = (
    celery.app.task.Task.apply_async,
    celery.app.task.Task.signature_from_request,
    celery.canvas.Signature.apply_async,
    kombu.messaging.Producer.publish,
)
"""Functions whose options a retry takes from the message of the first attempt."""
_LOOK_UPS = frozenset({"get", "pop", "setdefault"})


def derive() -> frozenset[str]:
    """Return the names, in lower case and with `_`, without those that begin with one."""
    app = Celery("names", set_as_current=False)
    v2, v1 = (make("id", "task") for make in (app.amqp.as_task_v2, app.amqp.as_task_v1))
    found = {
        *(name for owner in CLASSES for name in dir(owner)),
        *(name for owner in CLASSES for name in getattr(owner, "__slots__", ())),
        *(name for option in OPTIONS for name in inspect.signature(option).parameters),
        *(name for module in READERS for name in looked_up(module)),
        *celery.app.task.Context().as_execution_options(),
        *v2.headers, *v2.properties, *v2.body[2], *v1.body,
        *(name for name, _ in amqp.basic_message.Message.PROPERTIES),
    }  # fmt: skip
    return normal(found - {"self"})


def looked_up(module: ModuleType) -> Iterator[str]:
    """Yield each name that a module looks up by a literal: `x["name"]`, `x.get("name")`."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        key: Any = None
        if isinstance(node, ast.Subscript):
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            key = node.args[0] if node.func.attr in _LOOK_UPS else None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def normal(names: Iterable[str]) -> frozenset[str]:
    """Return names as `penstock.wire.headers.is_reserved` compares them."""
    plain = (name.lower().replace("-", "_") for name in names)
    return frozenset(name for name in plain if name.isidentifier() and not name.startswith("_"))


def main() -> None:
    """Write the file."""
    lines = "".join(f'        "{name}",\n' for name in sorted(derive()))
    TARGET.write_text(
        '"""Names that Celery, kombu and AMQP own; `python -m devstack.reserved_headers`."""\n\n'
        f"RESERVED_NAMES = frozenset(\n    (\n{lines}    )\n)\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
