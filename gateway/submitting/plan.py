"""The values of a task on its way from its request to its message."""

from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.access.carried import Carried
from gateway.access.copies import Copy
from gateway.endings.kept_callbacks import Callback
from gateway.rabbitmq.task_message import NOTHING_FOLLOWS, Template
from gateway.submitting.destinations import Destination
from gateway.submitting.start_times import Times
from gateway.submitting.task_request import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms a task is planned."""

    now: bool = True
    """It will be published now: a full queue, or too many results that are kept, refuse it."""
    everywhere: bool = False
    """It goes to every worker, untracked: several would write the same record."""
    receives: int = 0
    """How many of its first parameters the task before it in a canvas will give."""
    tenant: str | None = None
    """Whose the task is; None: the caller's tenant's."""
    envelopes: bool = False
    """Objects of kombu's form in its arguments are values: Celery's client made them."""
    idle_priority: bool = False
    """A priority that no queue honours is left out, in place of a refusal."""


SUBMITTED: Final = Terms()
"""The terms of a submit."""
LATER: Final = Terms(now=False)
EVERYWHERE: Final = Terms(everywhere=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskPlan:
    """A task that may be published, but for its arguments and its id.

    Compared by identity: plans of submits without options recur, and are keys of a cache.
    """

    task: str
    tenant: str
    """Whose it is."""
    options: Options
    """As the client gave them."""
    destination: Destination
    when: Times
    address: tuple[str, str]
    """Exchange and routing key to publish to; of the delay, where there is one."""
    tracked: bool
    """Whether one state and result will exist."""


class CanvasPart(msgspec.Struct, frozen=True, kw_only=True):
    """What the message of a task says of the canvas that it belongs to."""

    embed: bytes = NOTHING_FOLLOWS
    """The last member of its body: callbacks, errbacks, chain and chord, as JSON."""
    group_id: str | None = None
    group_index: int | None = None
    given: bytes = b""
    """JSON of an argument before its own; empty: none."""


ALONE: Final = CanvasPart()
"""Of a task that belongs to no canvas."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What one message says beside its plan."""

    copy: Copy | None = None
    """Where the same id may be published twice."""
    part: CanvasPart = ALONE
    retried_from: str | None = None
    """The task that is published again."""
    envelopes: bool = False
    """As in `Terms`."""


PLAIN: Final = Stamp()


class TaskMessage(msgspec.Struct):
    """A task, ready to be published."""

    task: str
    task_id: str
    template: Template
    body: bytes
    queues: tuple[str, ...]
    tracked: bool
    message_id: str | None = None
    """Where it is not the id: of a copy."""
    carried: Carried | None = None
    """What it says of its request."""
    callback: Callback | None = None
    """To be kept: before it is published, where nobody announces its end."""
    plan: TaskPlan | None = None
    """What it was made of."""
    retried_from: str | None = None
    """The task that it repeats."""
