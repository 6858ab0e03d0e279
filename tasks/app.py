"""The Celery application: settings that are policy, each with its reason, and the tasks."""

import os
import threading
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any

from celery import Celery
from celery.utils.dispatch import Signal
from celery.utils.time import maybe_iso8601

from penstock.wire.names import CALLBACKS_QUEUE
from penstock.worker.beat.schedule import BEAT_SETTINGS
from penstock.worker.consuming import command_line
from penstock.worker.consuming.control import obey_stop_signals
from penstock.worker.deaths.suspects import Suspects
from penstock.worker.messages.properties import survive_undecodable
from penstock.worker.quiet_logs import leave_out_receipts
from penstock.worker.running.execution import PenstockTask, register, with_ours
from penstock.worker.running.runtime import Runtime
from penstock.worker.stopping import end_in_time
from penstock.worker.tenancy import passed_on
from penstock.worker.tls import broker_settings, redis_url
from tasks.config import WorkerConfig
from tasks.registry import TASKS, TaskSpec
from topology.kombu_queues import celery_routes, work_queues
from topology.model import Topology

POLICY: Mapping[str, Any] = MappingProxyType(
    {
        # ── Nothing accepted is lost ──
        # A message is acknowledged when its task has ended, so a worker that dies gives it back.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # What a slot holds beyond the running task waits for that task, however long it takes.
        "worker_prefetch_multiplier": 1,
        # Without it a Redis outage acknowledges tasks that never ran, or wedges the threads pool.
        "result_backend_always_retry": True,
        # A lost connection delivers again what runs here: stop it, or it runs twice at a time.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # Without confirms a publish into a dying broker is lost silently.
        "broker_transport_options": {"confirm_publish": True},
        # A channel that the broker closed is opened again instead of ending the worker.
        "broker_channel_error_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Follow-up tasks and retries outlive a restart of RabbitMQ (20 s).
        "task_publish_retry_policy": {
            "max_retries": 30,
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 2,
        },
        # ── A dead server is noticed ──
        "broker_heartbeat": 10,
        "redis_socket_timeout": 5,
        "redis_socket_connect_timeout": 2,
        "redis_socket_keepalive": True,
        # ── States ──
        # Our start script writes STARTED; Celery would write it before it may.
        "task_track_started": False,
        # It stores the arguments: every batch of documents twice.
        "result_extended": False,
        # The gateway reads JSON, and nothing that arrives may be executed while it is decoded.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        # ── Queues ──
        # A name that is not in the layout is a mistake, not a new queue.
        "task_create_missing_queues": False,
        # Exclusive control queues end a worker that comes back quickly with a 405.
        "control_queue_exclusive": False,
        "control_queue_durable": True,
        # RabbitMQ 4.3 refuses queues that are neither durable nor exclusive.
        "event_queue_exclusive": True,
        "event_queue_durable": False,
        # ── Our extensions ──
        "worker_consumer": "penstock.worker.consuming.consumer:Consumer",
        "enable_utc": True,
        "timezone": "UTC",
    }
)

BACKEND = "penstock.worker.results.result_backend:RedisBackend"


class PenstockCelery(Celery):  # type: ignore[misc]  # Celery has no types
    """A Celery application that knows its configuration and layout.

    Args:
        config: of this process.
        topology: exchanges, queues and routes.
    """

    amqp_cls = "penstock.worker.messages.amqp:AMQP"
    control_cls = "penstock.worker.consuming.command_line:Control"
    task_cls = "penstock.worker.running.execution:PenstockTask"
    on_after_configure: Signal

    def __init__(self, config: WorkerConfig, topology: Topology, **options: Any) -> None:
        self.config = config
        self.topology = topology
        self._runtimes: dict[int, Runtime] = {}
        self._configuration_told = False
        self._making: dict[int, threading.Lock] = {}
        super().__init__("tasks", **options)
        self.suspects = Suspects(self)
        command_line.explain(self)

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
                    runtime = Runtime(self.config.mongo_url, self.config.redis_url)
                    self._runtimes[pid] = runtime
        return runtime

    def _load_config(self) -> Any:
        """Load the configuration, and keep `on_after_configure` until `finalize`.

        `build_app` reads the configuration to register the tasks: nothing can have connected to
        the signal before it returns, as Celery's documentation shows for `add_periodic_task`.
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


def build_app(
    config: WorkerConfig, topology: Topology, specs: Iterable[TaskSpec] = TASKS
) -> PenstockCelery:
    """Build the application.

    Args:
        config: of this process.
        topology: exchanges, queues and routes.
        specs: its tasks; default: every task of the registry.
    """
    app = PenstockCelery(config, topology)
    app.conf.update(POLICY)
    app.conf.update(BEAT_SETTINGS)
    # The gateway consumes the callbacks, and a worker without -Q consumes all that it knows.
    queues = [queue for queue in work_queues(topology) if queue.name != CALLBACKS_QUEUE]
    names = [queue.name for queue in queues]
    app.conf.update(
        **broker_settings(config.amqp_url),
        result_backend=f"{BACKEND}+{redis_url(config.redis_url)}",
        redbeat_redis_url=config.redis_url,
        redbeat_redis_use_ssl=None,  # or RedBeat takes the broker's options for Redis
        result_expires=config.result_expires_s,
        task_queues=queues,
        # Shown by Celery's tools next to each queue; nothing is published through it.
        task_default_exchange="tasks" if "tasks" in topology.exchanges else "",
        task_default_queue="default" if "default" in names else names[0],
        task_routes=(celery_routes(topology),),
    )
    for spec in specs:
        register(app, spec)
    obey_stop_signals(app)
    survive_undecodable()
    end_in_time()
    leave_out_receipts()
    return app
