"""The layout of this deployment, as its workers ask for it."""

from collections.abc import Iterable, Sequence
from typing import Any

from kombu.entity import Queue

from penstock.wire.names import CALLBACKS_QUEUE
from penstock.worker.layout import AppsQueue, LayoutError, Router, must_exist, undeclared
from topology import kombu_queues
from topology.conflicts import explain
from topology.errors import DeclarationError
from topology.model import Topology


class DeclaredLayout:
    """A `Topology`, which workers declare and know; see `penstock.worker.layout.Layout`.

    A worker that starts before the gateway must not reject a message into dead letters that nothing
    keeps.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    def declare(self, connection: Any, consumed: Iterable[str] = ()) -> Sequence[str]:  # noqa: ARG002  # all of it
        """Declare the whole layout; return the queues whose node is away.

        Raises:
            LayoutError: live queues have other arguments, or RabbitMQ refused to declare one; it
                names all of them and what to do.
        """
        try:
            return kombu_queues.declare(connection, self._topology)
        except DeclarationError as error:
            raise LayoutError(explain(error, self._topology.source)) from error

    def recognise(self, connection: Any, consumed: Iterable[str]) -> Sequence[str] | None:  # noqa: ARG002  # all of it
        """Find all of the layout, by name; None: not all of it is there.

        Raises:
            LayoutError: RabbitMQ refused to say.
        """
        try:
            return kombu_queues.still_there(connection, self._topology)
        except DeclarationError as error:
            raise LayoutError(explain(error, self._topology.source)) from error

    def examine(self, connection: Any, consumed: Iterable[str]) -> None:
        """See that the queues that are consumed exist; `python -m topology check` compares all."""
        must_exist(connection, consumed)

    def queues(self) -> list[Queue]:
        """Return the queues that workers consume, and those of apps, which they publish to."""
        queues = kombu_queues.work_queues(self._topology)
        return [queue for queue in queues if queue.name != CALLBACKS_QUEUE] + [
            undeclared(queue.name, kind=AppsQueue)
            for queue in self._topology.queues.values()
            if not queue.ours
        ]

    def router(self) -> Router:
        """Return the routes."""
        return kombu_queues.celery_routes(self._topology)

    def queue_fault(self, queue: str) -> str | None:
        """Return why no worker can consume a queue, and what to do; None: it can."""
        topology = self._topology
        if queue == CALLBACKS_QUEUE:
            return f"queue {queue!r} is consumed by the gateway, which POSTs to callback URLs"
        if queue in topology.queues:
            return None
        known = ", ".join(name for name in topology.queues if name != CALLBACKS_QUEUE)
        return (
            f"queue {queue!r} is not in the layout {topology.source}, which has {known}. "
            f"Add [queues.{queue}] with its binding, and a route for its tasks (TOPOLOGY_FILE "
            "names the file), run `python -m topology apply`, and restart the gateway and the "
            "workers."
        )

    def unrouted(self, tasks: Iterable[str]) -> str | None:
        """Return which of a worker's tasks no client can submit, and what to do; None: none.

        Args:
            tasks: names; Celery's own are left out.
        """
        topology = self._topology
        own = (name for name in sorted(tasks) if not name.startswith("celery."))
        names = [name for name in own if topology.route(name) is None]
        if not names:
            return None
        return (
            f"no route of the layout {topology.source} names {', '.join(names)}: the gateway "
            "answers 404 unknown-task, and Celery's .delay() takes the default queue. Add "
            "[[routes]] (TOPOLOGY_FILE names the file), and restart the gateway and the workers."
        )

    def routed_to(self, queue: str) -> frozenset[str]:
        """Return the tasks that routes name in full and send to a queue."""
        topology = self._topology
        return frozenset(
            route.task
            for route in topology.routes
            if not route.is_pattern and queue in topology.match(route.exchange, route.routing_key)
        )

    def delayable(self, exchange: str, routing_key: str) -> bool:
        """Return whether a message to this destination can wait in the delay levels."""
        return self._topology.delayable(exchange, routing_key)

    def gated(self, exchange: str, routing_key: str) -> bool:
        """Return whether a message passes the gateway's gate when its delay is over."""
        queues = self._topology.match(exchange, routing_key)
        return self._topology.leads_to_app(exchange, queues)

    def shards(self, queue: str) -> Sequence[str]:
        """Name the queues of RabbitMQ behind a queue."""
        return self._topology.shards(queue)

    def named(self, shard: str) -> str:
        """Name the queue that a queue of RabbitMQ is a shard of; of any other: itself."""
        return self._topology.named(shard)

    def entry(self, queue: str) -> tuple[str, str]:
        """Return exchange and routing key by which a message reaches a queue by its name."""
        return self._topology.entry(queue)

    def shows_arguments(self, task: str) -> bool:
        """Return whether its arguments may be shown."""
        route = self._topology.route(task)
        return route is None or route.show_arguments

    def keeps_arguments(self, task: str) -> bool:
        """Return whether history may keep its arguments when it has failed."""
        route = self._topology.route(task)
        return route is None or route.keep_arguments
