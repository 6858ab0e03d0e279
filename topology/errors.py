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
