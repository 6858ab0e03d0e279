"""Where a task may go: by its route or the client's choice, if topology and key allow it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from gateway.access.auth import Caller
from gateway.errors import Fault, Problem, invalid_request
from gateway.submitting.near_names import NEAR, NearNames, meant
from gateway.submitting.task_request import Options
from penstock.wire.delay import delay_route
from penstock.wire.ingest import STORE_TASK
from penstock.wire.names import CALLBACKS_QUEUE, GATE_QUEUE
from topology.model import Topology
from topology.route import Route

_CELERYS_OWN = "celery."
"""Tasks that every worker has (`celery.app.builtins`). `celery.map` and its like run any other task
by its name, so that a route for all tasks, such as `*`, would let privileged ones in."""
_LISTED = "GET /v1/topology lists what there is"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message goes, resolved and allowed."""

    exchange: str
    routing_key: str
    queues: tuple[str, ...]
    """Every queue that takes it; none: those of the workers themselves, by a broadcast."""
    apps: bool = False
    """Whether an app owns anything of it: workers may take the message that are not ours."""
    shown: bool = True
    """Whether the arguments may be shown."""
    ignores_result: bool = False
    """Whether its workers store no result, whatever the message says."""
    keep_arguments: bool = True
    """Whether history may keep the arguments."""
    defaults: tuple[tuple[str, float], ...] = ()
    """Options of a submit that says none, by the route."""


class _Place(NamedTuple):
    """What a client chose of a destination."""

    queue: str | None
    exchange: str | None
    routing_key: str | None
    headers: None = None


class Destinations:
    """Resolves destinations; the answers are remembered, as callers and layouts seldom change.

    Args:
        topology: Where tasks can go.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._by_headers = any(one.type == "headers" for one in topology.exchanges.values())
        self._remembered = lru_cache(maxsize=4096)(self._resolve)
        self._names = NearNames(one.task for one in topology.routes if not one.is_pattern)

    def resolve(self, task: str, options: Options, caller: Caller) -> Destination:
        """Find where a task goes.

        Args:
            task: Its name.
            options: Of which the client may choose the queue, or exchange and routing key. Only
                headers exchanges look at the headers.
            caller: Who submits.

        Raises:
            Problem: `forbidden`, `unknown-task`, `unknown-queue`, `unknown-exchange`, `unroutable`
                (queued: no).
        """
        if options.headers and self._by_headers:
            return self._resolve(task, options, caller)
        place = _Place(options.queue, options.exchange, options.routing_key)
        return self._remembered(task, place, caller)

    def route(self, task: str, caller: Caller) -> Route:
        """Return the route of a task that the caller may submit.

        Raises:
            Problem: `unknown-task`, `forbidden` (queued: no).
        """
        if task == STORE_TASK:  # for `admin`, too: what is sent past ingest is not checked
            raise _forbidden(f"task {task!r} is reached by POST /v1/ingest/{{collection}} alone")
        route = self._topology.route(task)
        if route is None:
            near = [name for name in self._names.of(task) if self._allows(name, caller)][:NEAR]
            raise Problem(
                "unknown-task",
                no_route(task, near),
                queued="no",
                members={"near": near} if near else None,
            )
        if not caller.may_submit(task, privileged=route.privileged):
            raise _forbidden(f"the key does not allow task {task!r}")
        if task.startswith(_CELERYS_OWN) and route.is_pattern:
            raise _forbidden(f"{task!r} is Celery's own: only a route of that very name allows it")
        return route

    def _allows(self, task: str, caller: Caller) -> bool:
        route = self._topology.route(task)
        return route is not None and caller.may_submit(task, privileged=route.privileged)

    def everywhere(self, task: str, options: Options, caller: Caller) -> Destination:
        """Find the way to every worker, for a task that may go there.

        Raises:
            Problem: `unknown-task`, `forbidden`, `invalid-request` (queued: no).
        """
        if (options.queue, options.exchange, options.routing_key) != (None, None, None):
            raise invalid_request("$.options", "A broadcast has no destination", queued="no")
        route = self.route(task, caller)
        if route.privileged:
            raise _privileged(task)
        exchange, routing_key = self._topology.broadcast(route)
        apps = self._topology.leads_to_app(exchange, ())
        return Destination(
            exchange,
            routing_key,
            (),
            apps,
            route.show_arguments,
            keep_arguments=route.keep_arguments,
            defaults=route.defaults,
        )

    def _resolve(self, task: str, chosen: "Options | _Place", caller: Caller) -> Destination:
        topology = self._topology
        route = self.route(task, caller)
        queue, exchange, routing_key = chosen.queue, chosen.exchange, chosen.routing_key
        if queue is not None:
            if queue not in topology.queues:
                raise Problem(
                    "unknown-queue", f"the layout has no queue {queue!r}; {_LISTED}", queued="no"
                )
            exchange, routing_key = "", queue
        elif exchange is not None:
            routing_key = routing_key or ""
            if exchange not in topology.exchanges:
                raise Problem("unknown-exchange", no_exchange(exchange), queued="no")
            if not topology.exchanges[exchange].publishable:
                raise _forbidden(f"exchange {exchange!r} is not publishable = true in the layout")
        else:
            exchange, routing_key = route.exchange, route.routing_key
        queues = topology.match(exchange, routing_key, {**(chosen.headers or {}), "task": task})
        if not queues:
            at = "$.task" if chosen.exchange is None else "$.options.routing_key"
            raise _misdirected(
                "unroutable",
                at,
                f"no binding of exchange {exchange!r} matches the routing key {routing_key!r}; "
                "POST /v1/topology/route explains where a message goes",
            )
        if route.privileged and queues != self._own_queues(route, task):
            raise _privileged(task)
        for name in queues:
            if not caller.may_queue(name):
                raise _forbidden(f"the key does not allow queue {name!r}")
            if name == CALLBACKS_QUEUE and topology.has_callbacks:
                raise _forbidden(f"no worker consumes queue {name!r}: its messages are no tasks")
        apps = topology.leads_to_app(exchange, queues)
        return Destination(
            exchange,
            routing_key,
            queues,
            apps,
            route.show_arguments,
            route.ignore_result,
            route.keep_arguments,
            route.defaults,
        )

    def _own_queues(self, route: Route, task: str) -> tuple[str, ...]:
        """Return where a task goes when its caller chooses nothing."""
        return self._topology.match(route.exchange, route.routing_key, {"task": task})

    def address(self, destination: Destination, delay_s: int) -> tuple[str, str]:
        """Exchange and routing key to publish to, by way of the delay levels if it is delayed.

        Args:
            destination: Where it goes in the end.
            delay_s: Whole seconds that the broker holds it; 0: none.

        Raises:
            Problem: `delay-not-supported`, `invalid-request` (queued: no).
        """
        exchange, routing_key = destination.exchange, destination.routing_key
        if not delay_s:
            return (exchange, routing_key) if exchange else self._topology.entry(routing_key)
        if not self._topology.delayable(exchange, routing_key):
            raise _misdirected(
                "delay-not-supported",
                "$.options",
                f"exchange {exchange!r} cannot delay: leave out countdown and eta",
            )
        if destination.apps:
            return delay_route(delay_s, "", GATE_QUEUE)
        try:
            return delay_route(delay_s, exchange, routing_key)
        except ValueError:  # of the destination and the delay together
            raise invalid_request(
                "$.options.routing_key", "Is too long to be delayed", queued="no"
            ) from None


def _misdirected(code: str, at: str, detail: str) -> Problem:
    """Return a 422 for a destination that is there, and does not take the message."""
    return Problem(code, detail, queued="no", faults=(Fault(at, detail),))


def _forbidden(detail: str) -> Problem:
    return Problem("forbidden", detail, queued="no")


def _privileged(task: str) -> Problem:
    return _forbidden(f"task {task!r} is privileged: it goes where its route says, nowhere else")


def no_route(task: str, near: Iterable[str] = ()) -> str:
    """Say that no route names a task, and which names are near."""
    return (
        f"no route of the layout names {task!r}{meant(near)}; {_LISTED}, a task of yours needs one "
        "([[routes]] of TOPOLOGY_FILE)"
    )


def no_exchange(exchange: str) -> str:
    """Say that there is no such exchange."""
    return f"the layout has no exchange {exchange!r}; {_LISTED}"
