"""Tasks that will never begin, because the broker ended one that they wait for. Pure.

A worker records these itself (penstock/worker/results/canvas_ends.py); no worker sees a message
that expired or was dead-lettered. What stands behind it travels in its body: the rest of its chain,
the chord that waits for it, and its links, each again with what stands behind that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from gateway.rabbitmq.task_message import NOTHING_FOLLOWS


class Dependency(Enum):
    """What an unbegun task waited for."""

    CHAIN = "the task before it"
    CHORD = "a chord, which has failed then"
    LINK = "an end of another kind: it was linked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """One task that will not begin."""

    task_id: str
    task: str | None
    headers: Mapping[str, Any]
    """The custom headers that its message would have had."""
    why: Dependency


class _Body(msgspec.Struct, array_like=True):
    args: msgspec.Raw
    kwargs: msgspec.Raw
    embed: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Body).decode


def unbegun(body: bytes) -> list[Dependent]:
    """What will not begin when the task of a message does not.

    Args:
        body: Of its message; anything may be in it.
    """
    if body.endswith(NOTHING_FOLLOWS + b"]"):
        return []
    try:
        embed = _decode(body).embed or {}
        found = list(_behind(embed, ("callbacks", "errbacks"), Dependency.CHAIN))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return list({one.task_id: one for one in reversed(found)}.values())[::-1]


def _behind(
    embed: Mapping[str, Any], links: tuple[str, str], why: Dependency
) -> Iterator[Dependent]:
    """What stands behind a task.

    Args:
        embed: Of its message, or the options of its signature.
        links: Names under which its links stand there.
        why: What the rest of its chain waits for.
    """
    for signature in _signatures(embed.get("chain")):
        yield from _tasks(signature, why)
    chord = embed.get("chord")
    if isinstance(chord, dict):
        yield from _tasks(chord, Dependency.LINK if why is Dependency.LINK else Dependency.CHORD)
    for name in links:
        for signature in _signatures(embed.get(name)):
            yield from _tasks(signature, Dependency.LINK)


def _signatures(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _tasks(signature: Any, why: Dependency) -> Iterator[Dependent]:
    """Every task of a signature, and what stands behind it."""
    if not isinstance(signature, dict):
        return
    kwargs, options = signature.get("kwargs"), signature.get("options")
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    options = options if isinstance(options, dict) else {}
    inner: list[Any] = []
    match signature.get("subtask_type"):
        case "group" | "chain":
            inner = _signatures(kwargs.get("tasks"))
        case "chord":
            inner = [*_signatures(kwargs.get("header")), kwargs.get("body")]
        case _:
            task_id, task = options.get("task_id"), signature.get("task")
            if isinstance(task_id, str):
                headers = options.get("headers")
                yield Dependent(
                    task_id=task_id,
                    task=task if isinstance(task, str) else None,
                    headers=headers if isinstance(headers, dict) else {},
                    why=why,
                )
    for one in inner:
        yield from _tasks(one, why)
    yield from _behind(options, ("link", "link_error"), why)
