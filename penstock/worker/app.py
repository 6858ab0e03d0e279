"""The Celery application of this library: `Penstock` in place of `Celery`."""

import os
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery.exceptions import ImproperlyConfigured
from celery.utils.dispatch import Signal
from celery.utils.time import maybe_iso8601

from penstock.worker.beat.schedule import BEAT_SETTINGS
from penstock.worker.consuming import command_line
from penstock.worker.consuming.consumer import Salvage
from penstock.worker.consuming.control import Control
from penstock.worker.deaths.suspects import Suspects
from penstock.worker.layout import AsDeclared, Layout
from penstock.worker.policy import OURS, POLICY
from penstock.worker.results.result_backend import RedisBackend
from penstock.worker.running.runtime import Runtime
from penstock.worker.running.task import PenstockTask, with_ours
from penstock.worker.tenancy import passed_on
from penstock.worker.tls import redis_url


class Penstock(Celery):  # type: ignore[misc]  # Celery has no types
    """Celery, with every promise of the gateway kept for the tasks of this application.

    Everything else is as with Celery: `Penstock("proj", broker="amqp://…", backend="redis://…")`,
    `@app.task`, `@shared_task`, `app.conf`, `celery -A proj worker`.

    Args:
        main: as Celery's.
        layout: exchanges, queues and routes; None: queues that a gateway has declared.
        resources: makes, once in each process that executes tasks, what a `TaskContext` has as
            `resources`: clients, pools, folders.
        salvages: task → what reads a body of it that is no JSON, so that parts of it are executed.
        options: Celery's.
    """

    amqp_cls = "penstock.worker.messages.amqp:AMQP"
    control_cls = Control  # imported: the program `celery` lists its commands
    task_cls = "penstock.worker.running.task:PenstockTask"
    on_after_configure: Signal

    def __init__(
        self,
        main: str | None = None,
        *,
        layout: Layout | None = None,
        resources: Callable[[], Any] | None = None,
        salvages: Mapping[str, Salvage] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        self.layout: Layout = layout or AsDeclared()
        self.salvages = salvages
        self._resources = resources
        self._runtimes: dict[int, Runtime] = {}
        self._configuration_told = False
        self._making: dict[int, threading.Lock] = {}
        super().__init__(main, **options)
        self.add_defaults({**POLICY, **BEAT_SETTINGS, **OURS, **self._laid_out()})
        self.suspects = Suspects(self)
        command_line.explain(self)

    def _laid_out(self) -> dict[str, Any]:
        """Return the settings that follow from the layout."""
        queues, router = self.layout.queues(), self.layout.router()
        settings: dict[str, Any] = {}
        if router is not None:
            settings["task_routes"] = (router,)
        if queues is not None:
            settings["task_queues"] = list(queues)
            # A name that is not in the layout is a mistake, not a new queue.
            settings["task_create_missing_queues"] = False
        return settings

    @property
    def redis_url(self) -> str:
        """Redis, with states, announcements and schedules: `result_backend`.

        Raises:
            ImproperlyConfigured: that is something else.
        """
        url = str(self.conf.result_backend or "")
        if urlsplit(url).scheme not in ("redis", "rediss"):
            raise ImproperlyConfigured(
                "task states are kept in Redis: set result_backend to redis://… or rediss://…, the "
                "REDIS_URL of the gateway"
            )
        return redis_url(url)

    def _get_backend(self) -> RedisBackend:
        return RedisBackend(app=self, url=self.redis_url)

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  # Celery's
        """The class of workers of this application."""
        return self.subclass_with_self("penstock.worker.consuming.worker:Worker")

    @property
    def runtime(self) -> Runtime:
        """The event loop of this process: threads do not survive a fork."""
        pid = os.getpid()
        runtime = self._runtimes.get(pid)
        if runtime is None or runtime.lost:
            # Of this process: one that a thread of the parent held at the fork stays locked.
            with self._making.setdefault(pid, threading.Lock()):
                runtime = self._runtimes.get(pid)
                if runtime is None or runtime.lost:
                    runtime = Runtime(self.redis_url, self._resources)
                    self._runtimes[pid] = runtime
        return runtime

    def _load_config(self) -> Any:
        """Load the configuration, and keep `on_after_configure` until `finalize`.

        A module that registers its tasks reads the configuration: nothing can have connected to the
        signal before, as Celery's documentation shows for `add_periodic_task`.
        """
        signal: Signal = self.on_after_configure
        self.on_after_configure = Signal()
        try:
            return super()._load_config()
        finally:
            self.on_after_configure = signal

    def finalize(self, auto: bool = False) -> None:  # noqa: FBT001, FBT002  # Celery's
        """Send `on_after_configure`, once, and do what Celery does when the tasks are known."""
        if not self._configuration_told:
            self._configuration_told = True
            self.on_after_configure.send(sender=self, source=self.conf)
        super().finalize(auto=auto)

    @cached_property
    def GroupResult(self) -> Any:  # noqa: N802  # Celery's
        """The class of groups' results of this application."""
        return self.subclass_with_self("penstock.worker.results.joining:GroupResult")

    def _task_from_fun(self, fun: Any, *args: Any, base: Any = None, **options: Any) -> Any:
        base = with_ours(base or self.Task)
        return super()._task_from_fun(fun, *args, base=base, **options)

    def register_task(self, task: Any, **options: Any) -> Any:  # noqa: D102  # Celery's
        task = task() if isinstance(task, type) else task
        if not isinstance(task, PenstockTask):
            task.__class__ = with_ours(type(task))
        return super().register_task(task, **options)

    def send_task(  # noqa: D102  # Celery's
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        **options: Any,
    ) -> Any:
        # Celery must not see the delay: with quorum queues it would send the message through its
        # own delay levels, and forget the exchange.
        if countdown:
            eta = self.now() + timedelta(seconds=countdown)
        if isinstance(eta, str):
            eta = maybe_iso8601(eta)
        if eta is not None:
            options["deliver_at"] = eta if eta.tzinfo else eta.replace(tzinfo=self.timezone)
        options["headers"] = passed_on(options.get("headers"))
        return super().send_task(name, args, kwargs, **options)
