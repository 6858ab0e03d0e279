"""What every application of this library does for its tasks, made as `Penstock` or installed."""

import os
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from celery import Celery
from celery.exceptions import ImproperlyConfigured
from celery.utils.dispatch import Signal
from redis import Redis

from penstock.wire.redis_url import read
from penstock.worker import tracing
from penstock.worker.consuming.control import Control
from penstock.worker.consuming.guarded import Salvage
from penstock.worker.deaths.suspects import Suspects
from penstock.worker.ending.ending import stop_here
from penstock.worker.layout import Layout
from penstock.worker.redis_client import sync_client
from penstock.worker.results.result_backend import RedisBackend
from penstock.worker.running.runtime import Runtime
from penstock.worker.running.task import PenstockTask, with_ours
from penstock.worker.tls import backend_url, redis_url

OF_WORKERS = frozenset({"result_backend_always_retry"})
"""Settings of which our defaults are for processes that execute tasks."""


class Tracked(Celery):  # type: ignore[misc]  # Celery has no types
    """An application whose tasks have states that are pushed, one end, and a context."""

    control_cls = Control  # imported: the program `celery` lists its commands
    log_cls = "penstock.worker.request_id:Logging"
    task_cls = "penstock.worker.running.task:PenstockTask"
    on_after_configure: Signal

    layout: Layout
    salvages: Mapping[str, Salvage]
    suspects: Suspects

    def _track(
        self,
        layout: Layout,
        resources: Callable[[], Any] | None,
        salvages: Mapping[str, Salvage],
        defaults: Mapping[str, Any],
    ) -> None:
        """Take what the application is made of; call it once.

        Args:
            layout: exchanges, queues and routes.
            resources: as of `Penstock`.
            salvages: as of `Penstock`.
            defaults: settings where the application's own say nothing.
        """
        self.layout = layout
        self.salvages = salvages
        self.suspects = Suspects(self)
        self._resources = resources
        self._own_defaults = {name: defaults[name] for name in defaults.keys() - OF_WORKERS}
        self._of_workers = {name: defaults[name] for name in defaults.keys() & OF_WORKERS}
        self._runtimes: dict[int, Runtime] = {}
        self._making: dict[int, threading.Lock] = {}

    def be_a_worker(self) -> None:
        """Take the defaults of processes that execute tasks; call it once before they do.

        A process that only publishes and reads (a web server) does not wait for Redis: who asks it
        would wait as well.
        """
        self._own_defaults.update(self._of_workers)

    def given_up(self) -> list[str]:
        """Return what the settings of the application give up of what it promises."""
        return []

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:  # noqa: D102  # Celery's
        if not self._looked_at_tracing:
            if self.conf.penstock_tracing:
                tracing.begin()
            self._looked_at_tracing = True
        if not tracing.is_on():
            return super().send_task(name, *args, **options)
        with tracing.publishing(name, options):
            return super().send_task(name, *args, **options)

    _looked_at_tracing = False

    @property
    def redis_url(self) -> str:
        """Redis, with states, announcements and schedules: `result_backend`.

        Raises:
            ImproperlyConfigured: that is something else.
        """
        try:
            url = backend_url(self.conf)
            read(url, socket=False)
        except ValueError as error:
            raise ImproperlyConfigured(
                "task states are kept in Redis: set result_backend to the REDIS_URL of the "
                f"gateway; it {error}"
            ) from error
        return url

    def _get_backend(self) -> RedisBackend:
        return RedisBackend(app=self, url=self.redis_url)

    @cached_property
    def redbeat_redis(self) -> Redis:
        """The client of RedBeat behind Sentinels; RedBeat looks for its client under this name.

        Raises:
            AttributeError: there are no Sentinels: RedBeat makes a client by itself.
        """
        url = str(self.conf.get("redbeat_redis_url") or self.redis_url)
        if "+sentinel://" not in url:
            raise AttributeError("redbeat_redis")
        options = self.conf.get("redbeat_redis_options") or {}
        return sync_client(redis_url(url), decode_responses=True, **options)

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  # Celery's
        """The class of workers of this application."""
        return self.subclass_with_self("penstock.worker.consuming.worker:Worker")

    @cached_property
    def GroupResult(self) -> Any:  # noqa: N802  # Celery's
        """The class of groups' results of this application."""
        return self.subclass_with_self("penstock.worker.results.joining:GroupResult")

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

    def stop_coroutines(self, reason: str) -> None:
        """Stop what this process executes on its event loop, or is about to.

        A signal handler calls it, on the thread that may be making the resources: it waits for
        nothing.

        Args:
            reason: one of `penstock.worker.running.runtime.STOP_SIGNALS`.
        """
        stop_here(reason)
        runtime = self._runtimes.get(os.getpid())
        if runtime is not None:
            runtime.stop_all(reason)

    def _load_config(self) -> Any:
        """Load the configuration, with our defaults below everything that the application says.

        Celery's `add_defaults` would put them above what `config_from_object` has loaded.
        """
        signal: Signal = self.on_after_configure
        self.on_after_configure = Signal()  # until the settings are whole
        try:
            conf = super()._load_config()
        finally:
            self.on_after_configure = signal
        self._default(conf)
        return conf

    def _default(self, conf: Any) -> None:
        """Put our defaults between the settings of the application and Celery's own defaults."""
        for maps in (conf.defaults, conf.maps):
            maps.insert(len(maps) - 1, self._own_defaults)

    def _task_from_fun(self, fun: Any, *args: Any, base: Any = None, **options: Any) -> Any:
        return super()._task_from_fun(fun, *args, base=self._ours(base or self.Task), **options)

    def register_task(self, task: Any, **options: Any) -> Any:  # noqa: D102  # Celery's
        task = task() if isinstance(task, type) else task
        if not isinstance(task, PenstockTask):
            task.__class__ = self._ours(type(task))
        return super().register_task(task, **options)

    def _ours(self, base: Any) -> Any:
        """Put the base of our tasks behind one that a task brings along."""
        return with_ours(base)
