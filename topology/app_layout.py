"""A layout for queues that a Celery application owns: from its description, or from its broker."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from penstock.wire.app_description import (
    AppDescription,
    DescribedQueue,
    DescribedTask,
    QueueBinding,
)
from penstock.wire.names import CALLBACKS_QUEUE
from topology.comparison import is_private
from topology.entities import OWN_QUEUES, Binding, Exchange, Queue
from topology.management import Live
from topology.model import Topology
from topology.route import ROUTE_OPTIONS, Route

OWNER: Final = "app"
_BARE = re.compile(r"[A-Za-z0-9_-]+")
CELERYS_QUEUE = "celery"
"""Celery's `task_default_queue`, unless an application says otherwise."""


@dataclass(kw_only=True)
class Draft:
    """What goes into the layout, and what does not."""

    exchanges: dict[str, Exchange] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    bindings: list[Binding] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """A sentence each."""

    def topology(self) -> Topology:
        """Return it as a layout.

        Raises:
            TopologyError: it has faults.
        """
        return Topology(
            exchanges=self.exchanges.values(),
            queues=self.queues.values(),
            bindings=self.bindings,
            routes=self.routes,
        )

    def bind(self, queue: str, binding: QueueBinding) -> None:
        """Add a binding and its exchange, where RabbitMQ and a layout can have both."""
        plain = binding.exchange_type == "direct" and queue == binding.exchange == binding.key
        if plain or not binding.exchange:  # Celery's own way: its client takes the default exchange
            return
        if binding.exchange_type not in ("direct", "topic", "fanout", "headers"):
            self.left_out.append(
                f"exchange {binding.exchange!r}: its type is {binding.exchange_type}"
            )
            return
        exchange = Exchange(name=binding.exchange, type=binding.exchange_type, owner=OWNER)  # type: ignore[arg-type]  # it is one of four
        keyed = exchange.type in ("direct", "topic")
        made = Binding(
            exchange=binding.exchange,
            queue=queue,
            key=binding.key if keyed else "",
            arguments={} if exchange.type != "headers" else dict(binding.arguments),
        )
        if faults := [*exchange.faults(), *made.faults(exchange.type)]:
            self.left_out += faults
            return
        self.exchanges.setdefault(exchange.name, exchange)
        if made not in self.bindings:
            self.bindings.append(made)

    def send(self, routes: Iterable[Route]) -> None:
        """Add the routes that lead to a queue of the draft."""
        reach, known = self.topology(), {one.task: one for one in self.routes}
        for route in routes:
            if route.task in known:
                if route != known[route.task]:
                    self.left_out.append(
                        f"task {route.task!r}: another application has one of this name, which the "
                        "layout sends to its own queue (one gateway for each can tell them apart)"
                    )
            elif route.is_pattern:
                self.left_out.append(
                    f"task {route.task!r}: a route would take its name for a pattern"
                )
            elif not reach.match(route.exchange, route.routing_key):
                self.left_out.append(
                    f"task {route.task!r}: Celery's client publishes it to exchange "
                    f"{route.exchange!r} with key {route.routing_key!r}, where no queue is bound: "
                    "it loses the task as well (name the exchange in task_routes)"
                )
            else:
                self.routes.append(route)


def from_apps(apps: Iterable[AppDescription], live: Live | None = None) -> Draft:
    """Draft the layout of applications: exact routes, so that a typo is an unknown task.

    Args:
        apps: their descriptions; of what two have, the first decides.
        live: their broker; None: as the descriptions have it.
    """
    draft = Draft()
    for app in apps:
        _describe(draft, app, live)
    return draft


def _describe(draft: Draft, app: AppDescription, live: Live | None) -> None:
    for queue in app.queues:
        if queue.broadcast:
            draft.left_out.append(
                f"queue {queue.name!r}: each worker makes one of its own (Broadcast)"
            )
            continue
        _add(draft, queue, {**queue.arguments, **(live.queues.get(queue.name, {}) if live else {})})
    if live is not None:
        _bind_live(draft, live)
    for task in app.tasks:
        if task.route.error:
            draft.left_out.append(
                f"task {task.task!r}: without arguments a router raised {task.route.error}; write "
                "its [[routes]] into the layout"
            )
    draft.send(
        Route(
            task=task.task,
            exchange=task.route.exchange,
            routing_key=task.route.routing_key,
            ignore_result=task.options.get("ignore_result") is True,
            **_options(draft, task),
        )
        for task in app.tasks
        if not task.route.error
    )


def _options(draft: Draft, task: DescribedTask) -> dict[str, Any]:
    """Return the options of its messages that a route can have: numbers within its bounds."""
    found: dict[str, Any] = {}
    for name in ROUTE_OPTIONS:
        value = getattr(task.route, name)
        if not isinstance(value, int | float):
            continue
        option: dict[str, Any] = {name: value}
        if faults := list(
            Route(task=task.task, exchange="", routing_key="", **option).faults(ours=False)
        ):
            draft.left_out += faults
        else:
            found[name] = value
    return found


def from_broker(live: Live) -> Draft:
    """Draft a layout of what is on a broker, which knows no tasks: one route takes them all."""
    draft = Draft()
    for name, arguments in sorted(live.queues.items()):
        if not (is_private(name, arguments) or name.startswith(OWN_QUEUES)):
            _add(draft, DescribedQueue(name=name, arguments={}), arguments)
    _bind_live(draft, live)
    names = sorted(draft.queues, key=lambda name: (name != CELERYS_QUEUE, name))
    if names:
        draft.routes.append(Route(task="*", exchange="", routing_key=names[0]))
    return draft


def _add(draft: Draft, queue: DescribedQueue, arguments: Any) -> None:
    priority = arguments.get("x-max-priority")
    made = Queue(
        name=queue.name,
        type="quorum" if arguments.get("x-queue-type") == "quorum" else "classic",
        max_priority=priority if isinstance(priority, int) and 1 <= priority <= 255 else None,
        dead_letter=False,
        owner=OWNER,
    )
    if faults := list(made.faults()):
        draft.left_out += faults
        return
    if (first := draft.queues.setdefault(queue.name, made)) != made:
        draft.left_out.append(
            f"queue {queue.name!r}: two applications declare it, as {_kind(first)} and as "
            f"{_kind(made)}, and RabbitMQ has it as the first that started did"
        )
    for binding in queue.bindings:
        draft.bind(queue.name, binding)


def _kind(queue: Queue) -> str:
    priority = f" with x-max-priority {queue.max_priority}" if queue.max_priority else ""
    return f"{queue.type}{priority}"


def _bind_live(draft: Draft, live: Live) -> None:
    """Add the bindings that the broker has, whoever made them."""
    for binding in live.bindings:
        if binding.destination_type == "queue" and binding.destination in draft.queues:
            type_ = str(live.exchanges.get(binding.source, {}).get("type", "direct"))
            draft.bind(
                binding.destination,
                QueueBinding(
                    exchange=binding.source,
                    exchange_type=type_,
                    key=binding.key,
                    arguments=binding.arguments,
                ),
            )


def text(draft: Draft, heading: Sequence[str], apps: Iterable[str]) -> str:
    """Write the draft as a layout file.

    Args:
        draft: what goes into it.
        heading: the comment at its beginning, by lines.
        apps: files of descriptions, relative to the layout.
    """
    return "\n".join(_lines(draft, heading, list(apps))) + "\n"


def _lines(draft: Draft, heading: Sequence[str], apps: list[str]) -> Iterator[str]:
    yield from (f"# {line}".rstrip() for line in heading)
    if apps:
        yield ""
        yield f"apps = {_quoted(apps)}    # the gateway checks arguments by them"
    for exchange in draft.exchanges.values():
        yield from ("", f"[exchanges.{_key(exchange.name)}]", f'owner = "{OWNER}"')
        yield f'type = "{exchange.type}"'
    for queue in draft.queues.values():
        yield from ("", f"[queues.{_key(queue.name)}]", f'owner = "{OWNER}"')
        if queue.type != "classic":
            yield f'type = "{queue.type}"'
        if queue.max_priority is not None:
            yield f"max_priority = {queue.max_priority}"
        if bindings := [one for one in draft.bindings if one.queue == queue.name]:
            yield "bindings = ["
            yield from (f"    {_inline(one)}," for one in bindings)
            yield "]"
    if CALLBACKS_QUEUE not in draft.queues:
        yield from ("", f"[queues.{CALLBACKS_QUEUE}]    # of the gateway, for callback_url")
    for route in draft.routes:
        yield from ("", "[[routes]]", f"task = {_quoted(route.task)}")
        yield f"exchange = {_quoted(route.exchange)}"
        yield f"routing_key = {_quoted(route.routing_key)}"
        if route.ignore_result:
            yield "ignore_result = true"
        yield from (f"{name} = {value}" for name, value in route.defaults)


def _inline(binding: Binding) -> str:
    fields = [f"exchange = {_quoted(binding.exchange)}"]
    if binding.key:
        fields.append(f"key = {_quoted(binding.key)}")
    if binding.arguments:
        own = (f"{_key(name)} = {_quoted(value)}" for name, value in binding.arguments.items())
        fields.append(f"arguments = {{ {', '.join(own)} }}")
    return f"{{ {', '.join(fields)} }}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(value: Any) -> str:
    """Return it as TOML writes it, which is as JSON does for names that RabbitMQ takes."""
    return json.dumps(value, ensure_ascii=False)
