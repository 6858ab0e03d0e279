"""The application that ships: `Penstock` with this deployment's configuration, layout and tasks."""

from collections.abc import Iterable

from penstock.wire.ingest import STORE_TASK
from penstock.worker.app import Penstock
from penstock.worker.running.spec import TaskSpec, register
from penstock.worker.tls import broker_settings
from tasks.batch_salvage import salvage
from tasks.config import WorkerConfig
from tasks.layout import DeclaredLayout
from tasks.periodic import SHIPPED
from tasks.quiet_logs import leave_out_receipts
from tasks.registry import TASKS
from tasks.resources import Resources
from tasks.store import Store
from topology.model import Topology


def build_app(
    config: WorkerConfig, topology: Topology, specs: Iterable[TaskSpec] = TASKS
) -> Penstock:
    """Build the application.

    Args:
        config: of this process.
        topology: exchanges, queues and routes.
        specs: its tasks; default: every task of the registry.
    """

    def resources() -> Resources:
        return Resources(
            store=Store(config.mongo_url),
            scripts_dir=config.scripts_dir,
            collection_pattern=config.collection_pattern,
        )

    layout = DeclaredLayout(topology)
    app = Penstock("tasks", layout=layout, resources=resources, salvages={STORE_TASK: salvage})
    names = [queue.name for queue in topology.queues.values() if queue.ours]
    app.conf.update(
        **broker_settings(config.amqp_url),
        result_backend=config.redis_url,
        result_expires=config.result_expires_s,
        result_backend_transport_options={"global_keyprefix": config.result_key_prefix},
        redbeat_redis_url=config.redis_url,
        redbeat_redis_use_ssl=None,  # or RedBeat takes the broker's options for Redis
        # Shown by Celery's tools next to each queue; nothing is published through it.
        task_default_exchange="tasks" if "tasks" in topology.exchanges else "",
        task_default_queue="default" if "default" in names else next(iter(names), "default"),
        worker_prefetch_multiplier=config.prefetch_multiplier,
        penstock_max_result_bytes=config.max_result_bytes,
        penstock_slot_grace_s=config.slot_grace_s,
        penstock_blocked_loop_s=config.blocked_loop_s,
        penstock_wait_replicas=config.wait_replicas,
        penstock_tracing=config.tracing,
        penstock_health_file=config.health_file,
        penstock_first_schedule=SHIPPED,
    )
    for spec in specs:
        register(app, spec)
    leave_out_receipts()
    return app
