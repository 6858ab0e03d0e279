"""The two ways in which a topology is wrong: in itself, and compared with the broker."""

from collections.abc import Iterable
from dataclasses import dataclass


class TopologyError(Exception):
    """The layout contradicts itself; nothing was declared.

    Attributes:
        faults: one sentence per fault, every fault of the layout.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """One argument in which a live exchange or queue differs from the layout."""

    kind: str
    """``exchange`` or ``queue``."""
    name: str
    argument: str
    """The AMQP argument (``x-max-length``), or ``type``, ``durable``, …; ``?`` when not told."""
    wanted: str
    """What the layout says, as RabbitMQ prints it."""
    live: str
    """What the broker has, as RabbitMQ prints it."""

    def __str__(self) -> str:
        """Name the entity, the argument and both values in one sentence."""
        return (
            f"{self.kind} {self.name!r}: {self.argument} is {self.live} on the broker, "
            f"the layout says {self.wanted}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """What is not there of a layout whose declaration did not conflict."""

    exchanges: tuple[str, ...] = ()
    """Of ours: the account may not configure them."""
    queues: tuple[str, ...] = ()
    """Of ours: the account may not configure them."""
    bindings: tuple[str, ...] = ()
    """Of ours, in words: the account may not make them; whether they are there AMQP cannot tell."""
    apps_exchanges: tuple[str, ...] = ()
    """Of apps, which have not declared them."""
    away: tuple[str, ...] = ()
    """Queues of ours that are there, on a node that is down or does not answer."""

    @property
    def ours(self) -> bool:
        """Whether anything is lacking that is ours."""
        return bool(self.exchanges or self.queues or self.bindings)

    def __bool__(self) -> bool:
        """Tell whether anything is not there."""
        return self.ours or bool(self.apps_exchanges or self.away)

    def __str__(self) -> str:
        """Name all of it, and who can make it."""
        lacking = [f"exchange {name!r}" for name in self.exchanges]
        lacking += [f"queue {name!r}" for name in self.queues]
        lacking += self.bindings
        parts = []
        if lacking:
            parts.append(
                f"this account may not make {', '.join(lacking)}: let one that may run `python -m "
                "topology apply`"
            )
        if self.away:
            names = ", ".join(map(repr, self.away))
            parts.append(f"the node of queue {names} is down: it is used again once it is back")
        if self.apps_exchanges:
            names = ", ".join(map(repr, self.apps_exchanges))
            parts.append(f"no app has declared exchange {names}: its worker does when it starts")
        return "; ".join(parts)


class DeclarationError(Exception):
    """RabbitMQ refused a declaration; the message names the entity and the reason."""


class DeclarationConflict(DeclarationError):  # noqa: N818 - the AMQP situation has this name
    """Live exchanges or queues have other arguments; RabbitMQ cannot change them in place.

    Attributes:
        conflicts: every differing entity that was found, in the order of declaration.
    """

    def __init__(self, conflicts: Iterable[Conflict]) -> None:
        self.conflicts = tuple(conflicts)
        super().__init__("\n".join(str(conflict) for conflict in self.conflicts))
