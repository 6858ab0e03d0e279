"""Real worker processes on real servers, and messages as the gateway publishes them."""

import contextlib
import json
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kombu.connection import Connection

from devstack.children import Child
from devstack.process import Process
from devstack.product import CUSTOM_POOL, ROOT, celerys_pool
from devstack.programs import child_environment
from penstock.worker.redis_client import sync_client
from tests.deployment.forked import ForkedCelery
from tests.support import history
from tests.support.waiting import eventually

FINAL = ("SUCCESS", "FAILURE", "REVOKED")


@dataclass(kw_only=True)
class Deployment:
    """One RabbitMQ virtual host, one Redis, and a folder for logs."""

    amqp_url: str
    redis_url: str
    folder: Path
    app: str = "tests.apps.tasks_core_app"
    """The application of its workers."""
    env: dict[str, str] = field(default_factory=dict)
    python: str | Path = sys.executable
    """What runs its processes: that of another Celery has this tree in its path."""

    def __post_init__(self) -> None:
        self.runs_file = self.folder / "runs"
        self.runs_file.touch()
        self.producer: Any = None
        self.redis: Any = sync_client(self.redis_url, decode_responses=True)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every process of the deployment."""
        own = {
            "AMQP_URL": self.amqp_url,
            "REDIS_URL": self.redis_url,
            "RUNS_FILE": str(self.runs_file),
            "PYTHONUNBUFFERED": "1",
        }
        return child_environment(**{**own, **CUSTOM_POOL, **self.env})

    def celery(self, name: str, *arguments: str, app: str = "") -> Child:
        """Make a `celery …` process."""
        kind = ForkedCelery if self.python == sys.executable else Child
        return kind(
            name,
            [self.python, "-m", "celery", "-A", app or self.app, *arguments],
            log=self.folder / f"{name}.log",
            env=self.environment,
            cwd=ROOT,
        )

    def make_worker(
        self, pool: str, *arguments: str, name: str, concurrency: int, app: str
    ) -> Process:
        """Make a worker that is ready when it says so."""
        child = self.celery(
            name, "worker", "-l", "info", "-n", f"{name}@%h", "-P", celerys_pool(pool),
            "-c", str(concurrency), *arguments, app=app,
        )  # fmt: skip

        async def ready() -> bool:
            return b" ready." in child.logged()

        return Process(child, ready)

    @contextlib.asynccontextmanager
    async def worker(
        self,
        pool: str = "threads",
        *arguments: str,
        name: str = "w",
        concurrency: int = 2,
        app: str = "",
    ) -> AsyncIterator[Process]:
        """Run a worker; at the end it must still be alive, unless it was killed."""
        worker = self.make_worker(pool, *arguments, name=name, concurrency=concurrency, app=app)
        child = worker.child
        try:
            await worker.start()
            yield worker
            assert child.running or child.returncode in {0, -9}, child.log_tail()
        finally:
            await child.stop(10)

    def publish(
        self,
        task: str,
        args: tuple[Any, ...] | list[Any] = (),
        *,
        exchange: str = "tasks",
        routing_key: str = "default",
        raw: bytes | None = None,
        without: tuple[str, ...] = (),
        task_id: str | None = None,
        embed: dict[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        **headers: Any,
    ) -> str:
        """Publish a task message, protocol 2, and return its id."""
        task_id = task_id or str(uuid.uuid4())
        headers = {
            "lang": "py", "task": task, "id": task_id, "shadow": None, "eta": None,
            "expires": None, "group": None, "group_index": None, "retries": 0,
            "timelimit": [None, None], "root_id": task_id, "parent_id": None,
            "origin": "penstock@test", "ignore_result": False, "replaced_task_nesting": 0,
            "stamped_headers": None, "stamps": {}, **headers, **(extra or {}),
        }  # fmt: skip
        follow = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        body = json.dumps([list(args), {}, follow | (embed or {})]).encode()
        message: dict[str, Any] = {
            "body": body if raw is None else raw,
            "exchange": exchange,
            "routing_key": routing_key,
            "headers": {name: value for name, value in headers.items() if name not in without},
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "correlation_id": task_id,
            "message_id": task_id,
            "delivery_mode": 2,
        }
        if self.producer is not None:
            self.producer.publish(**message)
        else:
            with self.confirming() as connection, connection.Producer() as producer:
                producer.publish(**message)
        return task_id

    def confirming(self) -> Connection:
        """A connection on which what is published is in its queue when that returns."""
        return Connection(self.amqp_url, transport_options={"confirm_publish": True})

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish many on one connection."""
        with self.confirming() as connection, connection.Producer() as self.producer:
            yield
        self.producer = None

    def record(self, task_id: str) -> dict[str, Any]:
        """Read the record of a task; empty when there is none."""
        text = self.redis.get(f"celery-task-meta-{task_id}")
        return json.loads(str(text)) if text else {}

    async def ended(self, task_id: str, timeout_s: float = 15.0) -> dict[str, Any]:
        """Wait for the final record of a task."""

        def final() -> dict[str, Any] | None:
            record = self.record(task_id)
            return record if record.get("status") in FINAL else None

        record: dict[str, Any] = await eventually(final, timeout_s, 0.05)
        return record

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """Read what the events of a task are."""
        return [event for _, event in self.history(task_id)]

    def history(self, task_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Read cursors and events of a task."""
        snapshot = self.redis.register_script(history.SNAPSHOT)
        return history.events(snapshot(**history.question(task_id)))

    def states(self, task_id: str) -> list[str]:
        """Read the states that a task went through."""
        return [event["status"] for event in self.events(task_id) if "status" in event]

    @property
    def runs(self) -> list[str]:
        """What the tasks noted."""
        return self.runs_file.read_text(encoding="utf-8").split("\n")[:-1]

    def take(self, queue: str) -> Any:
        """Take one message from a queue, or None."""
        with Connection(self.amqp_url) as connection:
            return connection.default_channel.basic_get(queue, no_ack=True)

    def put_back(self, queue: str) -> None:
        """Take every message of a queue and give it back, so that it is redelivered."""
        with Connection(self.amqp_url) as connection:
            channel = connection.default_channel
            tags = []
            while message := channel.basic_get(queue):
                tags.append(message.delivery_tag)
            for tag in tags:
                channel.basic_reject(tag, requeue=True)

    def depth(self, queue: str) -> int:
        """Count the ready messages of a queue."""
        with Connection(self.amqp_url) as connection:
            count: int = connection.default_channel.queue_declare(queue, passive=True).message_count
            return count
