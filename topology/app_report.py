"""What of a Celery application works behind a gateway as it is, and what does not, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from penstock.wire.app_description import AppDescription
from penstock.wire.names import CALLBACKS_QUEUE
from topology.app_layout import Draft
from topology.management import Live

REDIS = ("redis", "rediss", "sentinel")
"""Kinds of backends that a gateway reads."""
EVENTS = "celeryev"
"""Celery's `event_exchange`, unless an application says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    kind: Literal["app", "works", "no", "note"]
    """`app`: whose the next lines are; `no`: that does not work as it is."""
    text: str
    stops: bool = False
    """Whether nothing of the application can be submitted because of it."""

    def __str__(self) -> str:
        """Write it for a terminal."""
        return f"{self.kind:<6} {self.text}"


def findings(apps: Sequence[AppDescription], draft: Draft, live: Live | None) -> Iterator[Finding]:
    """Look at applications.

    Args:
        apps: their descriptions.
        draft: the layout made of them.
        live: their broker; None: not looked at.
    """
    if CALLBACKS_QUEUE in draft.queues:
        yield _no(
            f"callback_url: an app has the queue {CALLBACKS_QUEUE!r}, whose name is that of the "
            "gateway's own (the app's messages are left to its workers; WebSocket, SSE and ?wait= "
            "tell ends as well)"
        )
    for app in apps:
        if len(apps) > 1:
            yield Finding(kind="app", text=app.app)
        yield from _messages(app)
        yield from _states(app)
        yield from _queues(app, draft, live)
        yield from _tasks(app, draft)
        yield from _typed(app)
        yield from _schedules(app)
    yield from (_no(text) for text in draft.left_out)


def of_broker(draft: Draft) -> Iterator[Finding]:
    """Look at a draft that was made of a broker alone.

    Args:
        draft: from `topology.app_layout.from_broker`.
    """
    if not draft.queues:
        yield _no("submits: the virtual host has no queue that workers share", stops=True)
        return
    yield _works(f"submits: to {_names(list(draft.queues))}")
    yield from (_no(text) for text in draft.left_out)
    route = draft.routes[0]
    yield _note(
        f"tasks: a broker knows none, so the layout sends every name to {route.routing_key!r}, and "
        "a typo is accepted; add routes for the others, or describe the application (penstock "
        "describe -A proj), which also has arguments checked"
    )
    yield _note("states and results: a broker does not know the backend; set REDIS_URL to it")


def _works(text: str) -> Finding:
    return Finding(kind="works", text=text)


def _note(text: str) -> Finding:
    return Finding(kind="note", text=text)


def _no(text: str, *, stops: bool = False) -> Finding:
    return Finding(kind="no", text=text, stops=stops)


def _messages(app: AppDescription) -> Iterator[Finding]:
    if app.broker.kind.startswith("amqp"):
        yield _works("submits: its broker is RabbitMQ")
    else:
        yield _no(
            f"submits: its broker is {app.broker.kind}, and a gateway publishes to RabbitMQ only: "
            "move the broker (broker_url = 'amqp://…')",
            stops=True,
        )
    accept = {str(name).rpartition("/")[2] for name in app.serializers.get("accept", ())}
    if "json" not in accept:
        yield _no(
            f"submits: its workers accept {', '.join(sorted(accept)) or 'nothing'}, and a gateway "
            f"writes JSON: accept_content = {sorted(accept | {'json'})}",
            stops=True,
        )
    elif accept - {"json"}:
        others = ", ".join(sorted(accept - {"json"}))
        yield _works(f"arguments: as JSON; its own clients may go on with {others}")
    if app.protocol != 2:
        yield _works(
            f"messages: its own clients write protocol {app.protocol}; its workers take the "
            "gateway's protocol 2 as well"
        )
    if app.settings.get("task_always_eager"):
        yield _note("task_always_eager: its own clients publish nothing; the gateway does")
    if app.settings.get("worker_enable_remote_control") is False:
        yield _no(
            "revoking: workers do not listen (worker_enable_remote_control = False); only delayed "
            "tasks can be revoked"
        )
    if (exchange := app.settings.get("event_exchange") or EVENTS) != EVENTS:
        yield _no(
            f"workers: they send events to exchange {exchange!r}, and a gateway listens to "
            f"{EVENTS!r}: GET /v1/workers does not show them (event_exchange = {EVENTS!r})"
        )


def _states(app: AppDescription) -> Iterator[Finding]:
    if app.backend.kind not in REDIS:
        yield _no(
            f"states and results: its backend is {app.backend.kind}, and a gateway reads Redis "
            "only: tasks run, and stay PENDING over HTTP (result_backend = 'redis://…')"
        )
        return
    yield _works("states and results: its backend is Redis")
    serializer = str(app.serializers.get("result", "json")).rpartition("/")[2]
    if serializer != "json":
        yield _no(
            f"results: they are {serializer}, and a gateway reads JSON: states are told, results "
            "are not (result_serializer = 'json')"
        )
    if app.settings.get("result_compression"):
        yield _note(
            f"results are compressed (result_compression = {app.settings['result_compression']!r})"
        )
    if app.installed:
        yield _works("states: with STARTED, task, worker and retries, as penstock.install is in it")
        return
    if not app.settings.get("result_extended"):
        yield _note("states have no task, worker and retries (result_extended = True adds them)")
    if not app.settings.get("task_track_started"):
        yield _note("states go from PENDING to the end (task_track_started = True adds STARTED)")


def _queues(app: AppDescription, draft: Draft, live: Live | None) -> Iterator[Finding]:
    old = tuple(int(part) for part in app.celery.split(".")[:2] if part.isdigit()) < (5, 5)
    own = {queue.name for queue in app.queues}
    for queue in (queue for name, queue in draft.queues.items() if name in own):
        if queue.type == "quorum" and old:
            yield _no(
                f"queue {queue.name!r} is a quorum queue, which workers of Celery {app.celery} "
                "cannot consume (5.5 can)"
            )
        if live is not None and queue.name not in live.queues:
            yield _note(
                f"queue {queue.name!r} is not on the broker: until its worker has made it (celery "
                f"worker -Q {queue.name}), submits to it are refused"
            )
    if app.settings.get("worker_direct"):
        yield _note(
            "worker_direct: each worker has a queue <name>.dq2 behind exchange C.dq2; add those "
            "that clients name to the layout"
        )
    if not app.settings.get("task_acks_late"):
        yield _note(
            "a worker that dies loses the tasks that it runs (task_acks_late = True, "
            "task_reject_on_worker_lost = True)"
        )


def _tasks(app: AppDescription, draft: Draft) -> Iterator[Finding]:
    names = {task.task for task in app.tasks}
    routed = sum(route.task in names for route in draft.routes)
    yield _works(f"tasks: {routed} of {len(app.tasks)} have a route")
    functions = [name for name in app.routers if name != "mapping"]
    if functions:
        yield _note(
            f"routes: {', '.join(functions)} decides by arguments; the layout has what it says "
            "without any"
        )
    silent = [one.task for one in app.tasks if one.options.get("ignore_result")]
    if silent:
        yield _note(
            f"{_names(silent)}: stores no result (ignore_result), so submits are answered without "
            "a state"
        )
    loose = [one.task for one in app.tasks if not one.checked]
    if loose:
        yield _note(f"{_names(loose)}: arguments are not checked (typing = False)")


def _typed(app: AppDescription) -> Iterator[Finding]:
    """Name the parameters whose values Celery's own clients send in a form that JSON lacks."""
    found = [
        f"{task.task}({', '.join(names)})"
        for task in app.tasks
        if (names := [f"{one['name']}: {one['typed']}" for one in task.params if one["typed"]])
    ]
    if found:
        yield _note(
            f"{_names(found)}: JSON has no such types, so what comes over HTTP arrives as the text "
            "or number that it is, where Celery's own clients give the type: the task has to take "
            "both"
        )


def _schedules(app: AppDescription) -> Iterator[Finding]:
    if not app.schedules:
        return
    known = [one for one in app.schedules if "other" not in one]
    yield _works(f"schedules: {len(app.schedules)} run as before, by {app.beat}, and show as tasks")
    if known:
        names = _names([str(one["name"]) for one in known])
        yield _note(
            f"schedules: {names} can move to the gateway: PUT "
            "/v1/schedules/{name} with the entry of the description, then take them out of "
            "beat_schedule, or they fire twice; a beat of this library reads them"
        )
    for one in app.schedules:
        if "other" in one:
            yield _note(f"schedule {one['name']!r} stays: the API has no word for {one['other']}")
        if one.get("hidden"):
            names = ", ".join(map(str, one["hidden"]))
            yield _note(
                f"schedule {one['name']!r}: fill in {names}, which the description leaves out"
            )


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
