"""A task on its way from its request to its message: checked, placed in a canvas, prepared."""

from dataclasses import dataclass

from gateway.rabbitmq.task_message import Template
from gateway.submitting.destinations import Destination
from gateway.submitting.task_request import TaskRequest, Times


@dataclass(frozen=True, slots=True)
class Checked:
    """A task that may be published, by the gateway now or by a worker later."""

    request: TaskRequest
    tenant: str
    """Whose it is."""
    destination: Destination
    when: Times
    address: tuple[str, str]
    """Exchange and routing key to publish to; of the delay, where there is one."""
    tracked: bool
    """Whether one state and result will exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasPart:
    """What the message of a task says of the canvas that it belongs to."""

    embed: bytes
    """The last member of its body: callbacks, errbacks, chain and chord, as JSON."""
    group_id: str | None = None
    group_index: int | None = None
    given: bytes = b""
    """JSON of an argument before its own; empty: none."""


@dataclass(slots=True)
class Prepared:
    """A checked task, ready to be published."""

    task: str
    task_id: str
    template: Template
    body: bytes
    queues: tuple[str, ...]
    tracked: bool
