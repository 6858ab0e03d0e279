"""A Celery application as one JSON file: `penstock describe -A proj`.

What a gateway needs to know: tasks with their arguments, routes, queues, servers without passwords,
schedules. Imports the application as a worker does; connects to no server. Needs nothing but Celery
and runs on Python 3.8: where the library cannot be installed, copy this file, and
`python describe.py -A proj -o app.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import inspect
import json
import platform
import re
import sys
import traceback
import typing
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import celery
from celery import schedules
from celery.app.routes import MapRoute
from celery.app.utils import find_app
from celery.utils.functional import maybe_evaluate
from kombu.common import Broadcast
from kombu.transport.base import to_rabbitmq_queue_arguments

FORMAT = 1  # of the file: a reader refuses another
SECRET = re.compile("pass|secret|token|api_?key|private|signature|credential", re.IGNORECASE)
"""Names whose values stay out of the file."""
SETTINGS = (
    "control_exchange", "enable_utc", "event_exchange", "result_compression", "result_expires",
    "result_extended", "task_acks_late", "task_always_eager", "task_compression",
    "task_create_missing_queues", "task_default_priority", "task_default_queue_type",
    "task_ignore_result", "task_track_started", "worker_direct", "worker_enable_remote_control",
    "worker_send_task_events",
)  # fmt: skip
"""Settings that decide what a gateway in front of the application can do."""
TASK_OPTIONS = ("ignore_result", "serializer", "time_limit", "soft_time_limit")
SENT_OPTIONS = ("priority", "expires")
"""Options of a task or its route that its messages carry, and that its workers do not know."""
_READ = re.compile(r"(py)?amqps?|librabbitmq|rediss?|sentinel|memory", re.IGNORECASE)
"""Schemes of servers that a gateway uses: of others nothing else is written."""
_NEXT_URL = re.compile(r";(?=\s*[a-z+]+://)", re.IGNORECASE)

_SIMPLE = {
    int: "integer", float: "number", str: "string", bool: "boolean",
    type(None): "null", None: "null", list: "array", dict: "object",
}  # fmt: skip
_NULL = {"type": "null"}
_TYPED = (dt.datetime, dt.date, dt.time, uuid.UUID, Decimal, bytes)
"""What only Celery's own clients can send as it is: kombu marks it in its JSON."""
_UNIONS = (typing.Union, getattr(sys.modules["types"], "UnionType", typing.Union))
_CELERY = str(Path(celery.__file__).parent)
_CRONTAB_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


class DescribeError(Exception):
    """The application cannot be described; the message says why."""


def load(name: str) -> Any:
    """Import an application, by a name as of `celery -A`, and all its tasks, as a worker does.

    Raises:
        DescribeError: it cannot be imported.
    """
    try:
        app = find_app(name)
        app.loader.import_default_modules()
        app.finalize()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise DescribeError(f"{name}: {error!r} ({where.filename}, line {where.lineno})") from error
    return app


def describe(app: Any, name: str) -> dict[str, Any]:
    """Return everything that a gateway needs to know of an application that is loaded, as JSON."""
    conf = app.conf
    own = sorted(name for name in app.tasks if not name.startswith("celery."))
    tasks = [_described(app, app.tasks[name]) for name in own]
    return {
        "penstock_app": FORMAT,
        "app": name,
        "celery": celery.__version__,
        "python": platform.python_version(),
        "broker": _broker(conf),
        "backend": _backend(app),
        "protocol": conf.task_protocol,
        "serializers": {
            "task": conf.task_serializer, "result": conf.result_serializer,
            "accept": sorted(map(str, conf.accept_content or ())),
        },
        "timezone": str(app.timezone),
        "settings": {key: _json(conf.get(key)) for key in SETTINGS},
        "default_queue": conf.task_default_queue,
        # After the tasks: routes add queues that the settings do not name.
        "queues": [_queue(queue) for _, queue in sorted(app.amqp.queues.items())],
        "tasks": tasks,
        "routers": [_router(one) for one in app.amqp.router.routes],
        "schedules": [_schedule(app, *one) for one in sorted(conf.beat_schedule.items())],
        "beat": str(conf.beat_scheduler),
        "installed": any(getattr(app.tasks[name], "authored", None) for name in own),
    }  # fmt: skip


def _json(value: Any) -> Any:
    """Return a value as JSON has it; of another what `repr` gives, without its address."""
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if isinstance(value, (set, frozenset)):
        value = sorted(map(str, value))
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def without_password(url: str) -> str:
    """Return a URL without its password, and without parameters that may be one."""
    parts = urlsplit(url)
    if "://" not in url:
        return url  # the name of a transport
    if not _READ.fullmatch(parts.scheme):
        return url.partition("://")[0] + "://"  # the key of an account may stand anywhere
    user, at, host = parts.netloc.rpartition("@")
    if "@" in parts.path + parts.query + parts.fragment and not at:  # `/`, `?`, `#` in a password
        return f"{parts.scheme}://{url.rpartition('@')[2]}"
    kept = [pair for pair in parse_qsl(parts.query) if not SECRET.search(pair[0])]
    user = user.partition(":")[0]
    place = f"{user}@{host}" if user else host
    # By hand: `geturl` makes `amqp:` of `amqp://`, which is this machine's server.
    return f"{parts.scheme}://{place}{parts.path}{'?' if kept else ''}{urlencode(kept)}"


def urls_of(setting: Any) -> list[str]:
    """Return the servers that a setting names: a list, or a text with `;` between them."""
    given = setting if isinstance(setting, (list, tuple)) else _NEXT_URL.split(str(setting or ""))
    return [str(url) for url in given if url]


def _transport(url: str) -> str:
    scheme = urlsplit(url).scheme if "://" in url else url
    return {"pyamqp": "amqp", "librabbitmq": "amqp"}.get(scheme, scheme)


def _broker(conf: Any) -> dict[str, Any]:
    urls = urls_of(conf.broker_write_url or conf.broker_url) or ["amqp://guest@localhost//"]
    first = urlsplit(urls[0])
    return {
        "kind": _transport(conf.broker_transport or urls[0]),
        "urls": [without_password(url) for url in urls],
        "vhost": unquote(first.path[1:]) or "/",
        "tls": bool(conf.broker_use_ssl) or first.scheme.endswith("s"),
    }


def _backend(app: Any) -> dict[str, Any]:
    urls = urls_of(app.conf.result_backend)
    options = app.conf.get("result_backend_transport_options") or {}
    found: dict[str, Any] = {
        "kind": _transport(urls[0]) if urls else "disabled",
        "urls": [without_password(url) for url in urls],
        "global_keyprefix": options.get("global_keyprefix") or "",
        "primary": options.get("master_name") or "",
        "tls": bool(app.conf.redis_backend_use_ssl),
    }
    try:
        prefix = getattr(app.backend, "task_keyprefix", None)
    except Exception as error:  # noqa: BLE001  # whatever its library raises
        return dict(found, error=repr(error))
    if prefix is not None:
        found["task_keyprefix"] = prefix.decode() if isinstance(prefix, bytes) else str(prefix)
    return found


def _queue(queue: Any) -> dict[str, Any]:
    """Describe a kombu queue as it is declared on RabbitMQ."""
    limits = ("expires", "message_ttl", "max_length", "max_length_bytes", "max_priority")
    arguments = to_rabbitmq_queue_arguments(
        queue.queue_arguments or {}, **{name: getattr(queue, name) for name in limits}
    )
    broadcast = isinstance(queue, Broadcast)
    more = [(one.exchange, one.routing_key, one.arguments) for one in queue.bindings or ()]
    if not more or getattr(queue.exchange, "name", None):  # both, as `Queue.declare` has them
        more.append((queue.exchange, queue.routing_key, queue.binding_arguments))
    return {
        "name": queue.alias if broadcast else queue.name,  # that of a broadcast is random
        **{one: bool(getattr(queue, one)) for one in ("durable", "exclusive", "auto_delete")},
        "arguments": _json(arguments),
        "broadcast": broadcast,
        "bindings": [
            {"exchange": to.name, "exchange_type": to.type, "key": key or "",
             "arguments": _json(given or {})}
            for to, key, given in sorted(more, key=lambda one: (one[0].name, one[1] or ""))
        ],
    }  # fmt: skip


def _router(router: Any) -> str:
    """Name a router: a mapping answers alike for all arguments, a function may not."""
    found = maybe_evaluate(router)
    name = "mapping" if isinstance(found, MapRoute) else getattr(found, "__qualname__", "")
    return name or str(_json(found))


def _route(app: Any, task: Any) -> dict[str, Any]:
    """Return where Celery's client would publish a task that is called without options.

    Source: `celery.app.amqp.AMQP._create_task_sender` and `celery.app.routes.Router.route`.
    """
    try:
        options = dict(task._get_exec_options())  # noqa: SLF001  # as `Task.apply_async` does
        options = app.amqp.router.route(options, task.name, (), {}, task)
    except Exception as error:  # noqa: BLE001  # a router is the user's
        return {"error": repr(error)}
    queue, exchange, key = map(options.get, ("queue", "exchange", "routing_key"))
    queue = app.amqp.default_queue if queue is None and exchange is None else queue
    if isinstance(queue, str):
        queue = app.amqp.queues[queue]
    type_ = options.get("exchange_type") or (queue.exchange.type if queue else "direct")
    name = queue.name if queue else None
    if (not exchange or not key) and type_ == "direct":
        exchange, key = "", name
    elif exchange is None:
        exchange = queue.exchange.name or app.amqp.default_exchange
        key = key or queue.routing_key or app.conf.task_default_routing_key
    sent = {one: _json(options[one]) for one in SENT_OPTIONS if options.get(one) is not None}
    exchange = getattr(exchange, "name", exchange)
    return dict(sent, queue=name, exchange=exchange, exchange_type=type_, routing_key=key or "")


def _described(app: Any, task: Any) -> dict[str, Any]:
    """Describe a task; of one that cannot be described, only that any arguments fit."""
    try:
        found = _task(app, task, authored(task), getattr(task, "authored", None))
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except Exception as error:  # noqa: BLE001  # whatever hints, defaults and docstrings are
        sys.stderr.write(f"{task.name}: any arguments fit, as it cannot be described: {error!r}\n")
        return dict(_task(app, task, anything, None), doc="")
    return found


def _task(app: Any, task: Any, run: Any, ours: Any) -> dict[str, Any]:
    signature = _signature(ours, run)  # ours: what the library knows, where that is
    params = signature.parameters.values()
    options = {name: _json(getattr(task, name, None)) for name in TASK_OPTIONS}
    return {
        "task": str(task.name),
        "doc": inspect.cleandoc(inspect.unwrap(run).__doc__ or vars(type(task))["__doc__"] or ""),
        "coroutine": ours.is_coroutine if ours else inspect.iscoroutinefunction(run),
        "checked": bool(getattr(task, "typing", True)),
        "params": [dict(parameter(one), typed=_typed(one.annotation)) for one in params],
        "returns": schema(signature.return_annotation),
        "route": _route(app, task),
        "options": {name: value for name, value in options.items() if value is not None},
    }


def anything(*args: Any, **kwargs: Any) -> Any:
    """Stand for a function of which nothing is known."""


def authored(task: Any) -> Any:
    """Return what the author of a task wrote, without Celery's own wrappers.

    A wrapper of the author's stays: it may take other arguments than what it wraps.
    """
    run = getattr(task, "_orig_run", None) or task.run
    while hasattr(run, "__wrapped__") and run.__code__.co_filename.startswith(_CELERY):
        inner = run.__wrapped__
        run = inner.__get__(run.__self__) if inspect.ismethod(run) else inner
    return run


def _signature(ours: Any, run: Any) -> inspect.Signature:
    """Return the arguments that a task surely takes, with hints where they can be resolved."""
    if ours is not None:
        return typing.cast("inspect.Signature", ours.signature())
    try:
        found = inspect.signature(run, follow_wrapped=False)
    except (TypeError, ValueError):  # of C
        found = inspect.signature(anything)
    try:
        hints = typing.get_type_hints(getattr(run, "__func__", run))
    except Exception:  # noqa: BLE001  # names that only a type checker knows
        hints = {}
    empty, params = inspect.Parameter.empty, found.parameters.values()
    hinted = [one.replace(annotation=hints.get(one.name, empty)) for one in params]
    return found.replace(parameters=hinted, return_annotation=hints.get("return", empty))


def schema(hint: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type hint; `{}`, which every value fits, when it has none."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "__metadata__"):  # Annotated
        return schema(arguments[0])
    if origin in _UNIONS:
        return {"anyOf": [schema(one) for one in arguments]}
    if origin is typing.Literal:  # JSON has no members of an Enum, and no bytes
        return {"enum": list(arguments)} if {*map(type, arguments)} <= {*_SIMPLE} else {}
    if origin is list and arguments:
        return {"type": "array", "items": schema(arguments[0])}
    if origin is dict and arguments and arguments[0] is str:
        return {"type": "object", "additionalProperties": schema(arguments[1])}
    if origin in (list, dict) and not arguments:  # typing.List of Python 3.8
        hint = origin
    simple = next((word for known, word in _SIMPLE.items() if known is hint), None)
    return {"type": simple} if simple else {}


def parameter(one: inspect.Parameter) -> dict[str, Any]:
    """Describe one parameter: name, kind, whether it is required, schema, default."""
    has_default = one.default is not inspect.Parameter.empty
    found: dict[str, Any] = {
        "name": one.name,
        "kind": one.kind.name.lower(),
        "required": not has_default and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD),
        "schema": schema(one.annotation),
    }
    words = found["schema"].get("anyOf", [found["schema"]])
    if has_default and one.default is None and not any(word in words for word in ({}, _NULL)):
        found["schema"] = {"anyOf": [found["schema"], _NULL]}
    if has_default and not SECRET.search(one.name):
        with contextlib.suppress(TypeError, ValueError):
            found["default"] = json.loads(json.dumps(one.default, allow_nan=False))
    return found


def _typed(hint: Any) -> str:
    """Return which of the types that JSON lacks a value of this hint may have; else nothing."""
    if hint in _TYPED:
        return str(hint.__name__)
    return next(filter(None, map(_typed, typing.get_args(hint))), "")


def _schedule(app: Any, name: str, entry: Any) -> dict[str, Any]:
    """Return an entry of `beat_schedule` as the gateway's API writes one, and what it hides."""
    get = entry.get if hasattr(entry, "get") else lambda key: getattr(entry, key, None)
    kwargs = dict(get("kwargs") or {})
    hidden = sorted(key for key in kwargs if SECRET.search(str(key)))
    kwargs.update(dict.fromkeys(hidden))
    options = {key: _json(value) for key, value in (get("options") or {}).items()}
    return dict(
        when(app, get("schedule")), name=name, task=get("task"), kwargs=_json(kwargs),
        args=_json(list(get("args") or ())), options=options, hidden=hidden,
    )  # fmt: skip


def when(app: Any, found: Any) -> dict[str, Any]:
    """Return when a schedule is due, as the gateway's API writes it."""
    if isinstance(found, schedules.crontab):
        given = {field: getattr(found, "_orig_" + field) for field in _CRONTAB_FIELDS}
        fields = {  # Celery takes a number, or several, as well
            field: str(one) if isinstance(one, (int, str)) else ",".join(map(str, sorted(one)))
            for field, one in given.items()
        }
        return {"crontab": dict(fields, timezone=str(app.timezone))}
    if isinstance(found, schedules.solar):
        return {"solar": {"event": found.event, "latitude": found.lat, "longitude": found.lon}}
    every = _json(getattr(found, "run_every", found))
    if type(found) in (int, float, schedules.schedule) or hasattr(found, "total_seconds"):
        return {"every": every}
    return {"other": repr(found)}


def main(arguments: list[str] | None = None) -> int:
    """Describe an application, and return the exit status."""
    parser = argparse.ArgumentParser(prog="penstock describe", description=__doc__)
    parser.add_argument("-A", "--app", required=True, help="as for celery: proj, proj.celery:app")
    parser.add_argument("-o", "--output", help="the file to write; by default standard output")
    options = parser.parse_args(arguments)
    own = str(Path(__file__).parent)  # a file beside this one is no module of the application
    sys.path[:] = [str(Path.cwd()), *(path for path in sys.path if path != own)]  # as `celery` does
    try:
        with contextlib.redirect_stdout(sys.stderr):  # an application may print
            found = describe(load(options.app), options.app)
    except DescribeError as error:
        sys.stderr.write(f"penstock describe: {error}\n")
        return 1
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if options.output:
        Path(options.output).write_text(text, encoding="utf-8")
        counts = ", ".join(f"{len(found[one])} {one}" for one in ("tasks", "queues", "schedules"))
        sys.stderr.write(f"{options.output}: {counts}\n")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
