"""What follows a task that is published again: its chain and links under ids of their own. Pure.

The ids of the first time have ended with it: a step of a chain behind a failure is REVOKED. The
text of arguments stays as it was; the chord that waited for the task is left out, as it has ended.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from gateway.rabbitmq.task_message import NOTHING_FOLLOWS

_NULL: Final = msgspec.Raw(b"null")
_COMPOSED: Final = ("tasks", "header", "body")
_OPTIONS: Final = ("link", "link_error", "chain", "chord")

Issue = Callable[[bool], str]
"""Issues an id; of a group where true."""


class _Embed(msgspec.Struct):
    """The last member of the body of a message, as far as it counts."""

    callbacks: msgspec.Raw = _NULL
    errbacks: msgspec.Raw = _NULL
    chain: msgspec.Raw = _NULL


class FollowUpsError(Exception):
    """What follows a task is of no form that Celery writes."""


def renewed(embed: str | None, issue: Issue) -> bytes:
    """Return what follows a task, with new ids.

    Args:
        embed: JSON of the last member of its message's body; None: nothing is known to follow.
        issue: Issues them.

    Raises:
        FollowUpsError: It is no such JSON.
    """
    if not embed:
        return NOTHING_FOLLOWS
    try:
        found = msgspec.json.decode(embed, type=_Embed)
        parts = [bytes(one).decode() for one in (found.callbacks, found.errbacks, found.chain)]
        ids = {old: issue(group) for part in parts for old, group in _ids(json.loads(part))}
    except (ValueError, RecursionError) as error:
        raise FollowUpsError(str(error)[:200]) from error
    if ids:
        old = "|".join(re.escape(json.dumps(one)) for one in ids)
        named = re.compile(f'("(?:task_id|group_id|root_id|parent_id)"\\s*:\\s*)({old})')
        new = {json.dumps(one): f'"{fresh}"' for one, fresh in ids.items()}
        parts = [named.sub(lambda match: match[1] + new[match[2]], part) for part in parts]
    callbacks, errbacks, chain = parts
    return (
        f'{{"callbacks":{callbacks},"errbacks":{errbacks},"chain":{chain},"chord":null}}'.encode()
    )


def _ids(value: Any) -> Iterator[tuple[str, bool]]:
    """Give the ids of signatures, and whether each names a group; arguments are not searched."""
    if isinstance(value, list):
        for each in value:
            yield from _ids(each)
        return
    if not isinstance(value, dict) or not isinstance(options := value.get("options"), dict):
        return
    kind, kwargs = value.get("subtask_type"), value.get("kwargs")
    if isinstance(task_id := options.get("task_id"), str) and task_id:
        yield task_id, kind in {"group", "chord"}
    for name in _OPTIONS:
        yield from _ids(options.get(name))
    if kind and isinstance(kwargs, dict):
        for name in _COMPOSED:
            yield from _ids(kwargs.get(name))
