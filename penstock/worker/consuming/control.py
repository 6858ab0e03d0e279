"""Remote control: what a client of Celery's asks of workers, and what they do about it."""

import os
from secrets import token_hex
from typing import Any

from celery.app.control import Control as CeleryControl
from celery.app.control import Mailbox as CeleryMailbox
from celery.worker import state as worker_state
from celery.worker.control import add_consumer as celery_add_consumer
from celery.worker.control import control_command, nok, ok
from kombu.entity import Queue

from penstock.worker.consuming.request import Request
from penstock.worker.layout import LayoutError


class Mailbox(CeleryMailbox):  # type: ignore[misc]
    """Queues of remote control that belong to one connection, under names of their own.

    One that outlives its connection lives on a node of a cluster, and cannot be declared while that
    node is down; one of the same name cannot either, while RabbitMQ takes the connection before for
    alive.
    """

    def __call__(self, connection: Any) -> Any:
        """Return the mailbox for one command, with a queue of its own for the replies."""
        bound = super().__call__(connection)
        bound.token = token_hex(4)
        bound.__dict__.pop("reply_queue", None)
        return bound

    @property
    def oid(self) -> str:
        """The routing key of the replies."""
        return f"{super().oid}-{self.__dict__.get('token', '')}"

    def get_reply_queue(self) -> Queue:
        """Return the queue of the replies to one command."""
        oid = self.oid
        return self._own(f"{oid}.{self.reply_exchange.name}", self.reply_exchange, oid)

    def get_queue(self, hostname: str) -> Queue:
        """Return another queue for the commands to a worker."""
        return self._own(f"{hostname}.{token_hex(4)}.{self.namespace}.pidbox", self.exchange, "")

    @staticmethod
    def _own(name: str, exchange: Any, routing_key: str) -> Queue:
        return Queue(name, exchange, routing_key, exclusive=True, durable=False, auto_delete=True)


class Control(CeleryControl):  # type: ignore[misc]  # Celery has no types
    """Celery's client of remote control, which can purge what was never declared."""

    Mailbox = Mailbox

    def purge(self, connection: Any = None) -> int:
        """Discard the messages of every work queue; on a new broker there are none."""
        with self.app.connection_or_acquire(connection) as established:
            self.app.layout.declare(established)
            return int(super().purge(established))

    discard_all = purge


@control_command(  # type: ignore[untyped-decorator]  # Celery has no types
    name="penstock_terminate",
    args=[("task_id", str)],
    signature="<task_id>",
)
def penstock_terminate(state: Any, task_id: str, **_: Any) -> dict[str, Any]:
    """Stop a running task, which becomes REVOKED.

    A coroutine is cancelled on any pool; on prefork a function is killed with its process. Workers
    that do not run the task answer `{"ok": "unknown"}`; a function on a thread cannot be stopped.

    Args:
        state: of the worker.
        task_id: of the task.
    """
    request = worker_state.requests.get(task_id)
    if request is None or request not in worker_state.active_requests:
        return dict(ok("unknown"))
    if isinstance(request, Request) and request.stop_coroutine("terminated"):
        return dict(ok("terminating"))
    pool = state.consumer.pool
    if not pool.signal_safe:
        return dict(nok("not-terminable"))
    request.terminate(pool)
    return dict(ok("terminating"))


@control_command(name="penstock_shutdown")  # type: ignore[untyped-decorator]
def penstock_shutdown(state: Any, **_: Any) -> dict[str, Any]:  # noqa: ARG001  # Celery's
    """Stop the worker warmly, and answer: Celery's `shutdown` answers nothing.

    Args:
        state: of the worker.
    """
    worker_state.should_stop = os.EX_OK  # read by the loop after the reply is sent
    return dict(ok("shutting down"))


@control_command(  # type: ignore[untyped-decorator]
    name="add_consumer",
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue>",
)
def add_consumer(state: Any, queue: str, **more: Any) -> dict[str, Any]:
    """Tell the worker(s) to consume a queue of the layout.

    Args:
        state: of the worker.
        queue: its name; Celery would declare one that the layout does not have.
        more: Celery's exchange and routing key, which the layout knows.
    """
    # The command is registered for every application of the process.
    layout = getattr(state.app, "layout", None)
    if layout is not None and (fault := layout.queue_fault(queue)) is not None:
        return dict(nok(fault))
    if layout is not None:
        try:
            with state.app.connection_for_read() as connection:
                layout.examine(connection, [queue])
        except LayoutError as error:
            return dict(nok(str(error)))
    return dict(celery_add_consumer(state, queue, **more))
