"""Every task of this deployment on one page."""

from penstock.worker.running.spec import TaskSpec
from tasks import demo, documents, periodic, scripts

TASKS: tuple[TaskSpec, ...] = (
    TaskSpec("demo.add", demo.add),
    TaskSpec("demo.total", demo.total),
    TaskSpec("demo.echo", demo.echo),
    TaskSpec("demo.sleep", demo.sleep),
    TaskSpec("demo.fail", demo.fail),
    TaskSpec("demo.flaky", demo.flaky, {"max_retries": None}),
    TaskSpec("demo.progress", demo.progress),
    TaskSpec("documents.store", documents.store, {"max_retries": None}),
    TaskSpec("periodic.heartbeat", periodic.heartbeat, {"ignore_result": True}),
    TaskSpec("scripts.run", scripts.run),
)
