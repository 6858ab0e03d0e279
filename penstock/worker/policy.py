"""Celery settings that are policy, each with its reason: the defaults of every application here.

An application's own settings win.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

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

OURS: Mapping[str, Any] = MappingProxyType(
    {
        # A result whose JSON is longer makes its task FAILURE `ResultTooLarge`; None: none does.
        "penstock_max_result_bytes": 8 * 1024 * 1024,
        # A task that is over its hard limit by so much has cost its slot: it is ended, and the
        # worker replaces itself.
        "penstock_slot_grace_s": 30,
        # A coroutine that holds the event loop of the asyncio pool for longer is named in the log.
        "penstock_blocked_loop_s": 1.0,
        # A Path, touched while a worker or beat does its work; None: none.
        "penstock_health_file": None,
        # Entries like those of `beat_schedule`, due at once in a new deployment.
        "penstock_first_schedule": {},
        # Whether executions are spans of OpenTelemetry, which must be installed.
        "penstock_tracing": False,
        # So many replicas of Redis must have it that a task started, and its end.
        "penstock_wait_replicas": 0,
    }
)
"""Settings that Celery does not know, with their defaults."""

PROMISES: Mapping[str, str] = MappingProxyType(
    {
        "task_acks_late": "a worker that dies loses the tasks that it runs",
        "task_reject_on_worker_lost": "a task whose process dies is lost",
        "result_backend_always_retry": "tasks are acknowledged without running while Redis is away",
        "broker_transport_options": "what a dying broker was sent is lost (confirm_publish)",
        "broker_channel_error_retry": "a channel that RabbitMQ closes ends the worker",
        "task_serializer": "the gateway reads JSON only",
        "result_serializer": "the gateway reads JSON only",
        "worker_consumer": "messages that are no tasks end the worker",
    }
)
"""Settings of the policy that carry a promise, and what is lost when they are changed."""


def weakened(conf: Any) -> list[str]:
    """Return what an application gives up by settings of its own, a sentence each.

    Args:
        conf: Celery's settings.
    """
    return [
        f"{name} = {conf[name]!r}: {loss}"
        for name, loss in PROMISES.items()
        if not _keeps(conf[name], POLICY[name])
    ]


def _keeps(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(value, dict) and value.items() >= wanted.items()
    return bool(value == wanted)
