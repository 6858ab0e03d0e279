"""RabbitMQ's refusal of a declaration, read: which argument differs, and what is live."""

import re
from collections.abc import Sequence

from topology.declarations import BindingDeclaration, Declaration
from topology.errors import Conflict, DeclarationConflict, DeclarationError

_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for (?P<kind>queue|exchange) '.*' in vhost '.*': "
    r"received (?P<wanted>.*?) but current is (?P<live>.*)",
    re.DOTALL,
)
"""``rabbit_misc:assert_field_equivalence`` of RabbitMQ 3.10 to 4.x."""


def read_conflict(kind: str, name: str, text: str) -> Conflict:
    """Turn the text of a 406 PRECONDITION_FAILED or 405 RESOURCE_LOCKED into a conflict.

    Args:
        kind: ``exchange`` or ``queue``, as declared.
        name: its name.
        text: the reply text of ``channel.close``.
    """
    found = _INEQUIVALENT.search(text)
    if "exclusive access to locked queue" in text:
        return Conflict(kind=kind, name=name, argument="exclusive", wanted="false", live="true")
    if found is None:
        return Conflict(kind=kind, name=name, argument="?", wanted="otherwise", live=f"({text})")
    return Conflict(
        kind=kind,
        name=name,
        argument=found["argument"],
        wanted=_plain(found["wanted"]),
        live=_plain(found["live"]),
    )


def refused_at(wanted: Sequence[Declaration], text: str) -> int:
    """Return how many of some declarations were surely made, when RabbitMQ refused one of them.

    Without an answer to each, the text alone says which: those before the first one that it can
    mean were made.

    Args:
        wanted: in the order of their declaration.
        text: the reply text of ``channel.close``.
    """
    for place, one in enumerate(wanted):
        names = (
            (one.source, one.destination) if isinstance(one, BindingDeclaration) else (one.name,)
        )
        if any(f"'{name}'" in text for name in names):
            return place
    return 0


def explain(error: DeclarationError, source: str) -> str:
    """Say in one message what RabbitMQ refused to declare, and what to do.

    Args:
        error: of a declaration.
        source: the layout's file.
    """
    if not isinstance(error, DeclarationConflict):
        return f"RabbitMQ refused a declaration of the layout {source}: {error}"
    return (
        f"RabbitMQ differs from the layout {source}: {'; '.join(map(str, error.conflicts))}. "
        'RabbitMQ cannot change a live queue or exchange: say `owner = "app"` of one that a '
        "Celery app declares, change the layout back to what is live (TOPOLOGY_FILE names the "
        "file), or replace the queue as `python -m topology apply` explains."
    )


def _plain(value: str) -> str:
    """Reduce "the value '5' of type 'signedint'" and "none" to the value."""
    found = re.search(r"the value '(.*?)' of type", value, re.DOTALL)
    return found[1] if found else value.strip().strip("'")
