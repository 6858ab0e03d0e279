"""`penstock.install(app)`: what `Penstock` does for tasks, in an application that exists.

Queues, routes, publishing and the settings of the application stay Celery's and its own. Its other
clients and workers notice nothing, and workers with and without the library share its queues.
"""

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from celery import Celery, Task
from celery.app.autoretry import add_autoretry_behaviour
from celery.exceptions import ImproperlyConfigured

from penstock.worker.layout import OfTheApp
from penstock.worker.messages.json_values import Form
from penstock.worker.policy import OURS
from penstock.worker.results.result_backend import RedisBackend
from penstock.worker.running.task import PenstockTask, with_ours
from penstock.worker.tracked import Tracked

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        **OURS,
        # What ends as SUCCESS without this library does so with it.
        "penstock_max_result_bytes": None,
        "worker_consumer": "penstock.worker.consuming.guarded:GuardedConsumer",
        # The question whether a task may start waits for Redis; a failure would be its end.
        "result_backend_always_retry": True,
        "redis_socket_timeout": 5,
        "redis_socket_connect_timeout": 2,
    }
)
"""Settings where the application's own say nothing."""


class AppTask(PenstockTask):
    """Base of the tasks of an application that owns its queues."""

    abstract = True

    def _bury(self, error: Exception, reason: str) -> None:
        """Leave it at the FAILURE: its queues have no dead letters of ours."""

    def signature_from_request(
        self,
        request: Any = None,
        args: Any = None,
        kwargs: Any = None,
        queue: str | None = None,
        **extra_options: Any,
    ) -> Any:
        """Make the signature that a retry publishes, as Celery does: by the route of the app."""
        signature = Task.signature_from_request(self, request, args, kwargs, queue, **extra_options)
        signature.options.pop("redelivered", None)
        return signature


class AppBackend(RedisBackend):
    """States of an application that owns its queues; a gateway sees to its callbacks itself."""

    form = Form.COMPACT  # with NaN, infinity and halves of surrogate pairs, as Celery stores them

    def announce_end(self, request: Any, state: str) -> None:
        """Leave it to the gateway, which watches what it has published."""


class Installed(Tracked):
    """What an application is after `install`."""

    task_cls = "penstock.worker.installing:AppTask"

    def __init__(self, *args: Any, **options: Any) -> None:
        """Make one anew: a process that was spawned unpickles it."""
        super().__init__(*args, **options)
        self._install(None)

    def _install(self, resources: Callable[[], Any] | None) -> None:
        self._track(OfTheApp(), resources, MappingProxyType({}), DEFAULTS)

    def _load_config(self) -> Any:
        conf = super()._load_config()
        self.on_after_configure.send(sender=self, source=conf)
        return conf

    def _get_backend(self) -> RedisBackend:
        serializer = str(self.conf.result_serializer).rpartition("/")[2]
        if serializer != "json":
            raise ImproperlyConfigured(
                f"penstock.install: result_serializer is {serializer!r}, and states are JSON: set "
                "it to 'json', in every process that reads results"
            )
        return AppBackend(app=self, url=self.redis_url)

    def finalize(self, auto: bool = False) -> None:  # noqa: FBT001, FBT002  # Celery's
        """Do what Celery does when the tasks are known, and take those that were made before."""
        with self._finalize_mutex:
            if not self.finalized:
                super().finalize(auto=auto)
                self._adopt_all()

    def _ours(self, base: Any) -> Any:
        return with_ours(base, AppTask)

    def _adopt_all(self) -> None:
        """Make the tasks that Celery has made ours."""
        for task in self._tasks.values():
            if not isinstance(task, PenstockTask):
                self._adopt(task)

    def _adopt(self, task: Any) -> None:
        """Make a task ours in place: modules have references to it."""
        retried = task.__dict__.pop("_orig_run", None)
        if retried is not None:  # `autoretry_for` has wrapped it, and does so again
            del task.run
        task.__class__ = self._ours(type(task))
        task.bind(self)
        if retried is not None:
            add_autoretry_behaviour(task)


def install(app: Celery, *, resources: Callable[[], Any] | None = None) -> Celery:
    """Have an application report to a gateway: one line, before or after its tasks are made.

    Revoking becomes durable, STARTED has times and a worker, tasks can report progress, and workers
    announce their tasks. Nothing changes for its other clients and workers.

    Args:
        app: Celery's, with Redis as its result backend and JSON as the serializer of results.
        resources: makes, once in each process that executes tasks, what a `TaskContext` has as
            `resources`.

    Returns:
        The application.
    """
    if isinstance(app, Tracked):
        return app
    kind = type(app)
    app.__class__ = (
        Installed
        if kind is Celery
        else type(kind.__name__, (Installed, kind), {"__module__": kind.__module__})
    )
    app._install(resources)  # noqa: SLF001  # its class
    # The application has Celery's, or one of its own.
    for name in ("task_cls", "control_cls", "log_cls"):
        if getattr(app, name) == getattr(Celery, name):
            setattr(app, name, getattr(Installed, name))
    # What was made of Celery's classes.
    for name in ("Worker", "GroupResult", "control", "log"):
        app.__dict__.pop(name, None)
    if "_app" in vars(app.__dict__.get("Task", object)):
        del app.Task  # one that the application has assigned stays
    app._local = threading.local()  # noqa: SLF001  # holds the backend
    app._backend_cache = None  # noqa: SLF001
    if app.configured:
        app._default(app.conf)  # noqa: SLF001  # its class
    if app.finalized:
        app._adopt_all()  # noqa: SLF001  # its class
    return app
