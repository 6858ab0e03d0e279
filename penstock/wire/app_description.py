"""The description of a Celery application that `penstock describe` writes, read.

`topology` makes a layout of it, and gateways check arguments by it. What writes it stands alone, in
`penstock.describe`: it is copied to where applications run.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

FORMAT = 1
"""The version of the file that this release reads."""


class DescriptionError(ValueError):
    """The file is no description that this release reads; the message names the file and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The broker, or the result backend."""

    kind: str
    """`amqp`, `redis`, `rpc`, `disabled`, …: the scheme of its URL."""
    urls: tuple[str, ...] = ()
    """Without passwords."""
    vhost: str = "/"
    """Of RabbitMQ."""
    global_keyprefix: str = ""
    """What the keys of results in Redis begin with, as the application has it."""
    task_keyprefix: str = ""
    """How they begin indeed: Celery 5.4 puts `_` behind every prefix, 5.5 not behind `acme:`."""
    primary: str = ""
    """What Sentinels call the primary."""
    tls: bool = False
    """Whether a setting asks for TLS: the scheme of the URL need not say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBinding:
    """A binding of a queue."""

    exchange: str
    """Empty: the default exchange, to which every queue is bound by its name."""
    exchange_type: str
    key: str = ""
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedQueue:
    """A queue as the application declares it."""

    name: str
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    broadcast: bool = False
    """Whether each worker makes one of its own, with another name."""
    arguments: Mapping[str, Any]
    """As RabbitMQ has them: `x-max-priority`, …."""
    bindings: tuple[QueueBinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where Celery's client publishes a task."""

    exchange: str = ""
    exchange_type: str = "direct"
    routing_key: str = ""
    error: str = ""
    """Why that cannot be known: a router of the application raised it."""
    priority: Any = None
    """What its messages carry, by a route or the task."""
    expires: Any = None
    """The same: seconds, or a text where it is a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedTask:
    """A task of the application."""

    task: str
    doc: str = ""
    checked: bool = True
    """Whether Celery's client checks arguments by the signature (`typing`)."""
    params: tuple[Mapping[str, Any], ...] = ()
    """As workers announce them in Redis, and `typed`: the type that JSON lacks, such as datetime,
    of which Celery's own clients can send a value."""
    route: Destination
    options: Mapping[str, Any]
    """`ignore_result`, `serializer`, limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDescription:
    """A whole application."""

    app: str
    """As `celery -A` takes it."""
    celery: str
    """Its version."""
    broker: Server
    backend: Server
    protocol: int
    serializers: Mapping[str, Any]
    """`task`, `result` and `accept`."""
    settings: Mapping[str, Any]
    queues: tuple[DescribedQueue, ...]
    tasks: tuple[DescribedTask, ...]
    routers: tuple[str, ...]
    """`mapping`, or the name of a function, whose answer may depend on arguments."""
    schedules: tuple[Mapping[str, Any], ...]
    """As `PUT /v1/schedules/{name}` takes them, with `name` and `hidden`."""
    beat: str
    """What schedules them."""
    installed: bool = False
    """Whether `penstock.install(app)` is in it, or `Penstock` its class."""


def load(path: Path) -> AppDescription:
    """Read a description; members that a later release adds are ignored.

    Raises:
        DescriptionError: it cannot be read, or is none.
    """
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise DescriptionError(f"{path}: {error.strerror or error}") from error
    except DescriptionError as error:
        raise DescriptionError(f"{path}: {error}") from None


def decode(text: str | bytes) -> AppDescription:
    """Read the text of a description.

    Raises:
        DescriptionError: it is none.
    """
    try:
        found: Any = json.loads(text)
        version = found["penstock_app"]
        if version != FORMAT:
            raise DescriptionError(f"format {version!r}, this release reads {FORMAT}")
        return AppDescription(
            app=str(found["app"]),
            celery=str(found["celery"]),
            broker=_server(found["broker"]),
            backend=_server(found["backend"]),
            protocol=int(found["protocol"]),
            serializers=dict(found["serializers"]),
            settings=dict(found["settings"]),
            queues=tuple(_queue(one) for one in found["queues"]),
            tasks=tuple(_task(one) for one in found["tasks"]),
            routers=tuple(map(str, found["routers"])),
            schedules=tuple(map(dict, found["schedules"])),
            beat=str(found["beat"]),
            installed=found.get("installed") is True,
        )
    except DescriptionError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DescriptionError(f"no description of `penstock describe`: {error!r}") from error


Described = TypeVar("Described", Server, QueueBinding, DescribedQueue, Destination, DescribedTask)


def _known(kind: type[Described], found: Mapping[str, Any], **given: Any) -> Described:
    """Make a value of those members that this release knows."""
    names = {field.name for field in fields(kind)}
    known = {name: value for name, value in found.items() if name in names}
    return kind(**{**known, **given})


def _server(found: Mapping[str, Any]) -> Server:
    return _known(Server, found, urls=tuple(found["urls"]))


def _queue(found: Mapping[str, Any]) -> DescribedQueue:
    bindings = tuple(_known(QueueBinding, one) for one in found["bindings"])
    return _known(DescribedQueue, found, bindings=bindings)


def _task(found: Mapping[str, Any]) -> DescribedTask:
    params = tuple(map(_parameter, found["params"]))
    return _known(DescribedTask, found, params=params, route=_known(Destination, found["route"]))


def _parameter(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "name": str(found["name"]),
        "kind": str(found["kind"]),
        "required": bool(found["required"]),
        "schema": dict(found["schema"]),
        "typed": str(found.get("typed") or ""),
    }


def signatures(described: Iterable[AppDescription]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Return the parameters of each task whose arguments Celery's client checks."""
    return {task.task: task.params for app in described for task in app.tasks if task.checked}
