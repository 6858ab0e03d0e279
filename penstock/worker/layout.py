"""What a worker asks of the layout of RabbitMQ, and the answer of an application that has none.

The layout itself is no part of this library. An application that has one hands over a `Layout`;
any other consumes queues `AsDeclared`: a gateway has made them, and this process takes them as they
are.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from amqp.exceptions import NotFound
from kombu.entity import Exchange, Queue

from penstock.wire.delay import DELIVERY_EXCHANGE, level_name
from penstock.wire.names import BROADCAST_EXCHANGE, DEAD_EXCHANGE, MOST_SHARDS, shard_names
from penstock.wire.refusals import ONE_NODE_WITHIN_S, is_away

NEEDED_EXCHANGES = (BROADCAST_EXCHANGE, DEAD_EXCHANGE, level_name(0), DELIVERY_EXCHANGE)
"""What a worker publishes and binds to besides the queues of its tasks."""

NODE_WITHIN_S = 1.0
"""How much longer the answer about a queue may take than any other, where its node must give it."""
LEADER_WITHIN_S = 0.2
"""The same, where its leader must: RabbitMQ asks that of a quorum queue for 250 ms, and then
answers without it (``rabbit_quorum_queue:stat``, 3.10 to 4.x)."""

_ASKED = 3
"""Times, before a leader that is not heard in time counts as silent: the machine may be busy."""

NO_LAYOUT = (
    "RabbitMQ has no exchange {!r}: start a gateway on this broker first, or run `python -m "
    "topology apply` where the gateway is installed. Either declares the layout, in which your "
    "queues stand."
)
NO_QUEUE = (
    "RabbitMQ has no queue {0!r}: add [queues.{0}] with its binding, and a route for its tasks, to "
    "the layout of the gateway (TOPOLOGY_FILE), and restart the gateway."
)

Router = Callable[..., dict[str, Any] | None]
"""A function for Celery's `task_routes`."""


class LayoutError(Exception):
    """RabbitMQ is not as the layout says; the message names what, and the remedy."""


class Layout(Protocol):
    """Exchanges, queues and routes, as far as a worker asks."""

    def declare(self, connection: Any, consumed: Iterable[str] = ()) -> Sequence[str]:
        """Declare everything; what exists stays as it is.

        Args:
            connection: kombu's.
            consumed: queues that this process is about to consume.

        Returns:
            Queues that are there, on a node that is down or does not answer.

        Raises:
            LayoutError: RabbitMQ has something else, or refuses.
        """

    def recognise(self, connection: Any, consumed: Iterable[str]) -> Sequence[str] | None:
        """Find all of it, by name; change nothing.

        A node of a cluster answers that at once while another one is silent. To declare what is
        there all the same, it would wait for that node.

        Args:
            connection: kombu's.
            consumed: queues that this process is about to consume.

        Returns:
            As `declare`; None: something is missing, and all of it is to be declared.

        Raises:
            LayoutError: RabbitMQ refuses to say.
        """

    def examine(self, connection: Any, consumed: Iterable[str]) -> None:
        """See that RabbitMQ has what a worker needs; change nothing.

        Raises:
            LayoutError: it has not.
        """

    def queues(self) -> Sequence[Queue] | None:
        """Return the work queues, for `task_queues`; None: what Celery's settings name."""

    def router(self) -> Router | None:
        """Return the routes, for `task_routes`; None: what Celery's settings name."""

    def queue_fault(self, queue: str) -> str | None:
        """Return why no worker can consume a queue, and what to do; None: it can."""

    def unrouted(self, tasks: Iterable[str]) -> str | None:
        """Return which of a worker's tasks no client can submit, and what to do; None: none."""

    def routed_to(self, queue: str) -> frozenset[str]:
        """Return the tasks that routes name in full and send to a queue."""

    def delayable(self, exchange: str, routing_key: str) -> bool:
        """Return whether a message to this destination can wait in the delay levels."""

    def gated(self, exchange: str, routing_key: str) -> bool:
        """Return whether a message passes the gateway's gate when its delay is over."""

    def shards(self, queue: str) -> Sequence[str]:
        """Name the queues of RabbitMQ behind a queue: one, unless it is sharded."""

    def named(self, shard: str) -> str:
        """Name the queue that a queue of RabbitMQ is a shard of; of any other: itself."""

    def entry(self, queue: str) -> tuple[str, str]:
        """Return exchange and routing key by which a message reaches a queue by its name."""

    def shows_arguments(self, task: str) -> bool:
        """Return whether Flower, events and `celery inspect` may show its arguments."""

    def keeps_arguments(self, task: str) -> bool:
        """Return whether history may keep its arguments when it has failed."""


class AsDeclared:
    """Queues that a gateway declares, of which this process knows what Celery's settings name."""

    def __init__(self) -> None:
        self._shards: dict[str, tuple[str, ...]] = {}
        self._named: dict[str, str] = {}

    def declare(self, connection: Any, consumed: Iterable[str] = ()) -> Sequence[str]:
        """Declare nothing, and see that a gateway has; return the queues whose node is away.

        Raises:
            LayoutError: none has declared its layout on this broker, or it lacks a queue.
        """
        consumed = list(consumed)
        away = must_exist(connection, consumed)
        for queue in consumed:
            if queue not in self._named:
                shards = find_shards(connection, queue)
                self._shards[queue] = shards
                self._named |= dict.fromkeys(shards[1:], queue)
        return away

    def recognise(self, connection: Any, consumed: Iterable[str]) -> Sequence[str]:
        """See that a gateway has declared its layout, as `declare` does.

        Raises:
            LayoutError: none has, or its layout lacks a queue.
        """
        return self.declare(connection, consumed)

    def examine(self, connection: Any, consumed: Iterable[str]) -> None:
        """See that a gateway has declared its layout, with the queues that are consumed.

        Raises:
            LayoutError: none has, or its layout lacks a queue.
        """
        self.declare(connection, consumed)

    def queues(self) -> None:
        """Leave it to `task_queues` and `-Q`."""

    def router(self) -> None:
        """Leave it to `task_routes`."""

    def queue_fault(self, queue: str) -> None:
        """Leave it to RabbitMQ."""

    def unrouted(self, tasks: Iterable[str]) -> None:
        """Know no routes."""

    def routed_to(self, queue: str) -> frozenset[str]:  # noqa: ARG002  # the interface
        """Know no routes."""
        return frozenset()

    def delayable(self, exchange: str, routing_key: str) -> bool:  # noqa: ARG002  # the interface
        """Take the layout to deliver it; a message that it cannot deliver is recorded as failed."""
        return True

    def gated(self, exchange: str, routing_key: str) -> bool:  # noqa: ARG002  # the interface
        """Know no queues of other apps."""
        return False

    def shards(self, queue: str) -> Sequence[str]:
        """Name what was found on RabbitMQ when the queue was to be consumed."""
        return self._shards.get(queue, (queue,))

    def named(self, shard: str) -> str:
        """Name the queue that is consumed."""
        return self._named.get(shard, shard)

    def entry(self, queue: str) -> tuple[str, str]:
        """Publish to the queue itself: of one that is sharded, the first shard."""
        return "", queue

    def shows_arguments(self, task: str) -> bool:  # noqa: ARG002  # the interface
        """Show them; a task with secrets says `show_arguments=False`."""
        return True

    def keeps_arguments(self, task: str) -> bool:  # noqa: ARG002  # the interface
        """Keep them; a task with secrets says `keep_arguments=False`."""
        return True


class OfTheApp(AsDeclared):
    """Queues that the application declares itself, as it would without this library."""

    def declare(self, connection: Any, consumed: Iterable[str] = ()) -> Sequence[str]:  # noqa: ARG002  # the interface
        """Leave it to Celery, which declares them when they are consumed."""
        return ()

    def examine(self, connection: Any, consumed: Iterable[str]) -> None:
        """Leave it to Celery, as above."""

    def delayable(self, exchange: str, routing_key: str) -> bool:  # noqa: ARG002  # the interface
        """Leave delays to Celery."""
        return False


def must_exist(connection: Any, queues: Iterable[str]) -> list[str]:
    """See that RabbitMQ has the exchanges of every layout, and these queues.

    Returns:
        Queues that are there, on a node that is down or does not answer.

    Raises:
        LayoutError: one is missing.
    """
    questions = _Questions(connection)
    try:
        for name in NEEDED_EXCHANGES:
            if not questions.has_exchange(name):
                raise LayoutError(NO_LAYOUT.format(name))
        away = []
        for name in queues:
            has = questions.has_queue(name)
            if has is None:
                away.append(name)
            elif not has:
                raise LayoutError(NO_QUEUE.format(name))
        return away
    finally:
        questions.close()


def find_shards(connection: Any, queue: str) -> tuple[str, ...]:
    """Name the shards of a queue that a gateway has declared; the first is the queue itself."""
    questions = _Questions(connection)
    try:
        count = 1
        while count < MOST_SHARDS:
            if questions.has_queue(shard_names(queue, count + 1)[-1]) is False:
                break
            count += 1
        return shard_names(queue, count)
    finally:
        questions.close()


def silent(connection: Any, queues: Iterable[str]) -> list[str]:
    """Return the queues whose leader or node does not answer at once; change nothing.

    To consume one of them would hold up all that is consumed on the same channel.
    """
    questions = _Questions(connection)
    try:
        return [name for name in queues if not questions.answers(name)]
    finally:
        questions.close()


def has_queue(connection: Any, name: str) -> bool | None:
    """Return whether RabbitMQ has a queue; None: its node is down, or does not answer."""
    questions = _Questions(connection)
    try:
        return questions.has_queue(name)
    finally:
        questions.close()


class _Questions:
    """What RabbitMQ has, asked on one channel; on another after a question without an answer."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._channel = connection.channel()

    def has_exchange(self, name: str) -> bool:
        """Return whether there is an exchange."""
        try:
            Exchange(name, channel=self._channel, passive=True).declare()
        except NotFound:
            return False
        return True

    def has_queue(self, name: str, within_s: float = ONE_NODE_WITHIN_S) -> bool | None:
        """Return whether there is a queue; None: its node is down, or does not answer in time."""
        try:
            with self._channel.connection.transport.having_timeout(within_s):
                Queue(name, channel=self._channel).queue_declare(passive=True)
        except NotFound as error:
            return None if is_away(error.reply_text) else False
        except TimeoutError:
            self._channel = self._connection.channel()
            return None
        return True

    def answers(self, name: str) -> bool:
        """Return whether the leader of a queue answers about as soon as RabbitMQ itself."""
        for _ in range(_ASKED):
            asked = time.monotonic()
            self._channel.basic_qos(0, 0, a_global=False)  # whatever has an answer
            heard = time.monotonic()
            answer_s = heard - asked
            if self.has_queue(name, answer_s + NODE_WITHIN_S) is None:
                return False
            if time.monotonic() - heard < answer_s + LEADER_WITHIN_S:
                return True
        return False

    def close(self) -> None:
        """Ask no more."""
        self._channel.close()


class AppsQueue(Queue):
    """A queue of another app: published to, and consumed only where `-Q` names it."""


def undeclared(
    name: str, arguments: dict[str, Any] | None = None, kind: type[Queue] = Queue
) -> Queue:
    """Return a queue that kombu consumes and does not declare.

    kombu would declare one exchange and one binding with it, where the layout knows them all.
    Publishing to it by name goes through the default exchange.
    """
    return kind(
        name,
        Exchange("", type="direct", no_declare=True),
        routing_key=name,
        durable=True,
        queue_arguments=arguments,
        no_declare=True,
    )
