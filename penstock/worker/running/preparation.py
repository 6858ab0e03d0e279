"""What must be in place in every process that executes tasks, however it was started."""

import signal
from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown

from penstock.worker import tally, tracing
from penstock.worker.messages.properties import survive_undecodable
from penstock.worker.redis_client import sync_client
from penstock.worker.request_id import mark_records
from penstock.worker.running.runtime import STOP_SIGNALS
from penstock.worker.stopping import end_in_time


def prepare(app: Any) -> None:
    """Prepare this process, and those that it forks; call it before Celery's initializer.

    Args:
        app: the application whose tasks are executed.
    """
    app.be_a_worker()
    mark_records()
    tracing.begin_if_configured(app)
    _obey_stop_signals(app)
    _count(app)
    survive_undecodable()
    end_in_time()


def _obey_stop_signals(app: Any) -> None:
    """Let the processes of a pool stop their coroutine when the parent says so, and live on."""

    def install(**_: Any) -> None:
        for reason, number in STOP_SIGNALS.items():
            signal.signal(number, lambda *_, reason=reason: app.stop_coroutines(reason))

    # A name of its own for each application: a process has one, tests may have more.
    worker_process_init.connect(install, weak=False, dispatch_uid=f"penstock-stop-{id(app)}")


def _count(app: Any) -> None:
    """Let the processes of a pool add up what they count: documents of batches."""

    def begin(**_: Any) -> None:
        tally.begin_in_child(sync_client(app.redis_url))

    def end(**_: Any) -> None:
        tally.end_in_child()
        tracing.flush()

    worker_process_init.connect(begin, weak=False, dispatch_uid=f"penstock-tally-{id(app)}")
    worker_process_shutdown.connect(end, weak=False, dispatch_uid=f"penstock-tally-end-{id(app)}")
