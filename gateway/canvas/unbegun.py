"""Tasks that will never begin, because the broker ended one that they wait for. Pure.

A worker tells these itself (tasks/canvas.py); a message that expired or was dead-lettered is seen
by none. What stands behind it travels in its body: the rest of its chain, and the chord that waits
for it, each again with what stands behind that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.publishing.task_message import NOTHING_FOLLOWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbegun:
    """One task that will not begin."""

    task_id: str
    task: str | None
    headers: Mapping[str, Any]
    """The custom headers that its message would have had."""
    of_chord: bool
    """Whether it waits for a chord, which has failed then, and not just for the task before it."""


class _Body(msgspec.Struct, array_like=True):
    args: msgspec.Raw
    kwargs: msgspec.Raw
    embed: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Body).decode


def unbegun(body: bytes) -> list[Unbegun]:
    """What will not begin when the task of a message does not.

    Args:
        body: Of its message; anything may be in it.
    """
    if body.endswith(NOTHING_FOLLOWS + b"]"):
        return []
    try:
        embed = _decode(body).embed or {}
        found = list(_behind(embed.get("chain"), embed.get("chord"), of_chord=False))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return list({one.task_id: one for one in reversed(found)}.values())[::-1]


def _behind(chain: Any, chord: Any, *, of_chord: bool) -> Iterator[Unbegun]:
    for signature in chain if isinstance(chain, list) else ():
        yield from _tasks(signature, of_chord=of_chord)
    if isinstance(chord, dict):
        yield from _tasks(chord, of_chord=True)


def _tasks(signature: Any, *, of_chord: bool) -> Iterator[Unbegun]:
    """Every task of a signature, and what stands behind it."""
    if not isinstance(signature, dict):
        return
    kwargs, options = signature.get("kwargs"), signature.get("options")
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    options = options if isinstance(options, dict) else {}
    match signature.get("subtask_type"):
        case "group" | "chain":
            inner = kwargs.get("tasks")
        case "chord":
            header = kwargs.get("header")
            inner = [*(header if isinstance(header, list) else [header]), kwargs.get("body")]
        case _:
            inner = None
            task_id, task = options.get("task_id"), signature.get("task")
            if isinstance(task_id, str):
                headers = options.get("headers")
                yield Unbegun(
                    task_id=task_id,
                    task=task if isinstance(task, str) else None,
                    headers=headers if isinstance(headers, dict) else {},
                    of_chord=of_chord,
                )
    for one in inner if isinstance(inner, list) else ():
        yield from _tasks(one, of_chord=of_chord)
    yield from _behind(options.get("chain"), options.get("chord"), of_chord=of_chord)
