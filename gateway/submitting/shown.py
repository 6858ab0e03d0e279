"""Arguments as Flower and `celery inspect` show them where no worker of ours executes the task.

A stock worker shows the headers `argsrepr` and `kwargsrepr`, which Celery's client writes
(`AMQP.as_task_v2`); one of ours looks at the arguments themselves. Pure.
"""

from typing import Final

import msgspec

from gateway.decoding.typed_json import finite
from gateway.submitting.plan import TaskPlan
from penstock.wire.shown_arguments import HIDDEN, MOST
from penstock.wire.shown_arguments import shown as written

_LOOKED_INTO: Final = 4096
"""Octets of JSON up to which it is decoded; of more the beginning is shown as it is."""
_decode = msgspec.json.Decoder(float_hook=finite).decode


def shown(plan: TaskPlan, args: bytes, kwargs: bytes) -> dict[str, str]:
    """Return the headers that show the arguments of a task, a kilobyte of each at most.

    Args:
        plan: Says whether they may be shown.
        args: A JSON array, UTF-8.
        kwargs: A JSON object, UTF-8.
    """
    if not plan.destination.shown:
        return {"argsrepr": HIDDEN, "kwargsrepr": HIDDEN}
    return {"argsrepr": _tuple(args), "kwargsrepr": _written(kwargs)}


def _written(raw: bytes) -> str:
    if len(raw) > _LOOKED_INTO:
        return bytes(raw)[:MOST].decode(errors="ignore")[: MOST - 1] + "…"
    return written(_decode(raw))


def _tuple(args: bytes) -> str:
    """Write a list as the tuple that a client of Celery passes; one that is cut off stays."""
    text = _written(args)
    if len(args) > _LOOKED_INTO or not text.endswith("]"):
        return text
    return f"({text[1:-1]},)" if len(_decode(args)) == 1 else f"({text[1:-1]})"
