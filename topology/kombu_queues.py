"""The same data as kombu queues and Celery routes, for workers.

A worker that starts before the gateway declares the whole layout too: without its dead-letter
queues a rejected message would be lost.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from amqp.exceptions import (
    AccessRefused,
    ChannelError,
    InvalidCommand,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from penstock.wire.refusals import ONE_NODE_WITHIN_S, is_away
from topology.conflicts import read_conflict, refused_at
from topology.declarations import (
    BindingDeclaration,
    Declaration,
    ExchangeDeclaration,
    QueueDeclaration,
    describe,
)
from topology.errors import Conflict, DeclarationConflict, DeclarationError
from topology.model import Topology
from topology.plan import declarations
from topology.sharding import NO_PLUGIN, lacks_plugin

__all__ = [
    "DeclarationConflict",
    "DeclarationError",
    "celery_routes",
    "declare",
    "still_there",
    "work_queues",
]

AT_ONCE = 128
"""Declarations that are sent before an answer is waited for."""
QUEUES_AT_ONCE = 16
"""The same of queues, each of which elects a leader when it is made."""

Router = Callable[..., dict[str, Any] | None]
Entity = ExchangeDeclaration | QueueDeclaration
Send = Callable[..., None]
"""Sends one on a channel; with `nowait` RabbitMQ answers a refusal alone."""
One = Callable[[Any, Any], None]
"""Sends one on a channel, waits for the answer, and notes it."""


def work_queues(topology: Topology) -> list[Queue]:
    """List the work queues that are ours for Celery's ``task_queues``.

    They are never declared through these objects (``no_declare``): kombu declares one exchange and
    one binding per queue, while `declare` knows them all. Publishing to such a queue by name goes
    through the default exchange (``celery.app.amqp``: a direct exchange and no routing key).
    """
    return [
        _undeclared(queue.name, queue.arguments) for queue in topology.queues.values() if queue.ours
    ]


def celery_routes(topology: Topology) -> Router:
    """Give the function for Celery's ``task_routes``.

    It leaves a task alone whose caller named a queue or an exchange, as a retry does, and one that
    no route of the layout names.
    """

    def route_task(
        name: str,
        args: object = None,  # noqa: ARG001 - the signature is Celery's
        kwargs: object = None,  # noqa: ARG001
        options: Mapping[str, Any] | None = None,
        task: object = None,  # noqa: ARG001
        **_: object,
    ) -> dict[str, Any] | None:
        route = topology.route(name)
        if route is None or (options and (options.get("queue") or options.get("exchange"))):
            return None
        if not route.exchange:
            return {"queue": route.routing_key}
        return {
            "exchange": route.exchange,
            "exchange_type": topology.exchanges[route.exchange].type,
            "routing_key": route.routing_key,
        }

    return route_task


def declare(channel_or_connection: Any, topology: Topology) -> tuple[str, ...]:
    """Declare the whole layout; what exists stays as it is.

    What the account may not configure is taken as it is, if it is there. A queue whose node is away
    holds up no other.

    Args:
        channel_or_connection: a kombu connection or one of its channels; the declarations use
            channels of their own on the same connection.
        topology: the layout.

    Returns:
        Queues that are there, on a node that is down or does not answer.

    Raises:
        DeclarationConflict: live exchanges or queues have other arguments; holds all of them. What
            does not conflict is declared; bindings are made only when nothing conflicts.
        DeclarationError: RabbitMQ refused for another reason, such as permissions.

    What `Connection.recoverable_connection_errors` lists is raised as it is: Celery retries it.
    """
    open_channel = _opener(channel_or_connection)
    plan = declarations(topology)
    seen = _Seen()
    alone = [queue for queue in plan.queues if queue.on_one_node]
    try:
        _each(open_channel, plan.exchanges, _send, seen.declare)
    except InvalidCommand as error:
        raise DeclarationError(
            NO_PLUGIN if lacks_plugin(error.reply_text) else error.reply_text
        ) from error
    quorum = [queue for queue in plan.queues if queue not in alone]
    _each(open_channel, quorum, _send, seen.declare, QUEUES_AT_ONCE)
    for queue in alone:
        seen.declare_alone(open_channel(), queue)
    if seen.conflicts:
        raise DeclarationConflict(seen.conflicts)
    reached = [binding for binding in plan.bindings if binding.destination not in seen.away]
    _each(open_channel, [one for one in reached if not one.spreads], _send, _bind_one)
    if plan.replaced:
        with closing(open_channel()) as channel:
            for binding in plan.replaced:
                _unbind_one(channel, binding)
    _each(open_channel, [one for one in reached if one.spreads], _send, _bind_one)
    return tuple(seen.away)


def still_there(connection: Connection, topology: Topology) -> tuple[str, ...] | None:
    """Find every exchange and queue of a layout, by name; change nothing.

    A node answers such questions from what it knows, also while another one has vanished without a
    word: to make a queue or a binding, even one that is there, it would wait for that node.

    Args:
        connection: kombu's; the questions use channels of their own.
        topology: the layout.

    Returns:
        The queues that are there and whose nodes are down; None: something is missing.

    Raises:
        DeclarationError: RabbitMQ refused for another reason.
    """
    plan = declarations(topology)
    seen = _Seen()
    try:
        _each(_opener(connection), [*plan.exchanges, *plan.queues], _find, seen.find)
    except _MissingError:
        return None
    return tuple(seen.away)


def _undeclared(name: str, arguments: Mapping[str, Any]) -> Queue:
    return Queue(
        name,
        Exchange("", type="direct", no_declare=True),
        routing_key=name,
        durable=True,
        queue_arguments=dict(arguments),
        no_declare=True,
    )


def _opener(channel_or_connection: Any) -> Callable[[], Any]:
    connection = channel_or_connection
    if not isinstance(connection, Connection):
        connection = channel_or_connection.connection
    open_channel: Callable[[], Any] = connection.channel
    return open_channel


class _MissingError(Exception):
    """Something is not there; on a new RabbitMQ nothing is, and each question closes a channel."""


class _Seen:
    """What became of some declarations."""

    def __init__(self) -> None:
        self.conflicts: list[Conflict] = []
        self.away: list[str] = []

    def declare(self, channel: Any, declaration: Entity) -> None:
        """Declare one, or find it where the account may not, and note what came of it."""
        try:
            try:
                _send(channel, declaration)
            except AccessRefused:
                _find(channel, declaration)
        except (PreconditionFailed, ResourceLocked) as error:
            kind = _kind(declaration)
            self.conflicts.append(read_conflict(kind, declaration.name, error.reply_text))
        except ChannelError as error:
            self._refused(declaration, error)

    def find(self, channel: Any, declaration: Entity) -> None:
        """Look for one, and note that its node is away.

        Raises:
            _MissingError: it is not there.
        """
        try:
            _find(channel, declaration)
        except NotFound as error:
            if not is_away(error.reply_text):
                raise _MissingError from error
            self.away.append(declaration.name)
        except ChannelError as error:
            self._refused(declaration, error)

    def declare_alone(self, channel: Any, queue: QueueDeclaration) -> None:
        """Declare a queue of one node, on a channel that nothing else needs."""
        try:
            with channel.connection.transport.having_timeout(ONE_NODE_WITHIN_S):
                self.declare(channel, queue)
        except TimeoutError:
            self.away.append(queue.name)
        else:
            channel.close()

    def _refused(self, declaration: Entity, error: ChannelError) -> None:
        if not is_away(error.reply_text):
            what = f"{_kind(declaration)} {declaration.name!r}"
            raise DeclarationError(f"{what}: {error.reply_text}") from error
        self.away.append(declaration.name)


def _kind(declaration: Entity) -> str:
    return "exchange" if isinstance(declaration, ExchangeDeclaration) else "queue"


def _each(
    open_channel: Callable[[], Any],
    wanted: Iterable[Any],
    send: Send,
    one: One,
    at_once: int = AT_ONCE,
) -> None:
    """Send all without waiting for an answer, and only what may have been refused one by one."""
    left = list(wanted)
    with closing(open_channel()) as channel:
        while left:
            some = left[:at_once]
            sent = _sent(channel, some, send)
            left = left[sent:]
            if sent < len(some):
                one(channel, left.pop(0))


def _sent(channel: Any, wanted: Sequence[Any], send: Send) -> int:
    """Send all of them, and wait once; return how many RabbitMQ had taken before it refused one.

    After a refusal, which closes it, amqp has reopened the channel (``amqp.Channel._on_close``).
    """
    try:
        for one in wanted:
            send(channel, one, nowait=True)
        # Whatever has an answer: RabbitMQ does in order what comes on a channel.
        channel.basic_qos(0, 0, a_global=False)
    except ChannelError as error:
        return refused_at(wanted, error.reply_text)
    return len(wanted)


def _bind_one(channel: Any, binding: BindingDeclaration) -> None:
    """Make one binding that may have been refused."""
    try:
        _send(channel, binding)
    except (AccessRefused, NotFound) as error:
        if binding.required and not is_away(error.reply_text):
            raise DeclarationError(f"{describe(binding)}: {error.reply_text}") from error


def _unbind_one(channel: Any, binding: BindingDeclaration) -> None:
    """Remove one binding, if it is there."""
    try:
        channel.queue_unbind(
            binding.destination, binding.source, binding.key, arguments=dict(binding.arguments)
        )
    except ChannelError as error:
        raise DeclarationError(f"{describe(binding)}: {error.reply_text}") from error


def _send(channel: Any, declaration: Declaration, *, nowait: bool = False) -> None:
    """Declare one."""
    arguments = dict(declaration.arguments)
    match declaration:
        case ExchangeDeclaration(name=name, type=kind):
            channel.exchange_declare(
                name, kind, durable=True, auto_delete=False, nowait=nowait, arguments=arguments
            )
        case QueueDeclaration(name=name):
            channel.queue_declare(
                name, durable=True, auto_delete=False, nowait=nowait, arguments=arguments
            )
        case BindingDeclaration(source=source, destination=destination, key=key):
            to_exchange = declaration.destination_type == "exchange"
            bind = channel.exchange_bind if to_exchange else channel.queue_bind
            bind(destination, source, key, nowait=nowait, arguments=arguments)


def _find(channel: Any, declaration: Entity, *, nowait: bool = False) -> None:
    """See that it is there: for that no permission is needed."""
    if isinstance(declaration, QueueDeclaration):
        channel.queue_declare(declaration.name, passive=True, nowait=nowait)
    else:
        channel.exchange_declare(declaration.name, declaration.type, passive=True, nowait=nowait)
