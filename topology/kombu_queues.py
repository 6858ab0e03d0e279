"""The same data as kombu queues and Celery routes, for workers.

A worker that starts before the gateway declares the whole layout too: without its dead-letter
queues a rejected message would be lost.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, TypeVar

from amqp.exceptions import (
    AccessRefused,
    ChannelError,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from topology.conflicts import read_conflict
from topology.declarations import (
    BindingDeclaration,
    ExchangeDeclaration,
    QueueDeclaration,
    describe,
)
from topology.errors import Conflict, DeclarationConflict, DeclarationError
from topology.model import Topology
from topology.plan import declarations

__all__ = [
    "DeclarationConflict",
    "DeclarationError",
    "celery_routes",
    "declare",
    "work_queues",
]

Declared = TypeVar("Declared", ExchangeDeclaration, QueueDeclaration)
Router = Callable[..., dict[str, Any] | None]


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


def declare(channel_or_connection: Any, topology: Topology) -> None:
    """Declare the whole layout; what exists stays as it is.

    What the account may not configure is taken as it is, if it is there.

    Args:
        channel_or_connection: a kombu connection or one of its channels; the declarations use
            channels of their own on the same connection.
        topology: the layout.

    Raises:
        DeclarationConflict: live exchanges or queues have other arguments; holds all of them. What
            does not conflict is declared; bindings are made only when nothing conflicts.
        DeclarationError: RabbitMQ refused for another reason, such as permissions.

    What `Connection.recoverable_connection_errors` lists is raised as it is: Celery retries it.
    """
    open_channel = _opener(channel_or_connection)
    plan = declarations(topology)
    conflicts = [
        *_declare_all(open_channel, "exchange", plan.exchanges, _declare_exchange),
        *_declare_all(open_channel, "queue", plan.queues, _declare_queue),
    ]
    if conflicts:
        raise DeclarationConflict(conflicts)
    with closing(open_channel()) as channel:
        for binding in plan.bindings:
            try:
                _bind(channel, binding)
            except (AccessRefused, NotFound) as error:
                if binding.required:
                    raise DeclarationError(f"{describe(binding)}: {error.reply_text}") from error


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


def _declare_all(
    open_channel: Callable[[], Any],
    kind: str,
    wanted: Iterable[Declared],
    declare_one: Callable[[Any, Declared], None],
) -> list[Conflict]:
    """Declare each on one channel; after a refusal, which closes it, amqp has reopened it.

    (``amqp.Channel._on_close`` revives the channel before it raises.)
    """
    conflicts: list[Conflict] = []
    with closing(open_channel()) as channel:
        for declaration in wanted:
            try:
                try:
                    declare_one(channel, declaration)
                except AccessRefused:
                    _find(channel, declaration)
            except (PreconditionFailed, ResourceLocked) as error:
                conflicts.append(read_conflict(kind, declaration.name, error.reply_text))
            except ChannelError as error:
                raise DeclarationError(
                    f"{kind} {declaration.name!r}: {error.reply_text}"
                ) from error
    return conflicts


def _declare_exchange(channel: Any, exchange: ExchangeDeclaration) -> None:
    Exchange(
        exchange.name, exchange.type, channel, durable=True, arguments=dict(exchange.arguments)
    ).declare()


def _declare_queue(channel: Any, queue: QueueDeclaration) -> None:
    Queue(
        queue.name, channel=channel, durable=True, queue_arguments=dict(queue.arguments)
    ).queue_declare()


def _find(channel: Any, declaration: ExchangeDeclaration | QueueDeclaration) -> None:
    """See that it is there: for that no permission is needed."""
    if isinstance(declaration, QueueDeclaration):
        channel.queue_declare(declaration.name, passive=True)
    else:
        channel.exchange_declare(declaration.name, declaration.type, passive=True)


def _bind(channel: Any, binding: BindingDeclaration) -> None:
    arguments = dict(binding.arguments)
    if binding.destination_type == "exchange":
        Exchange(binding.destination, channel=channel).bind_to(
            binding.source, binding.key, arguments
        )
    else:
        Queue(binding.destination, channel=channel).bind_to(binding.source, binding.key, arguments)
