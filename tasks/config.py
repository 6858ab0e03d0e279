"""The configuration of a worker process: one frozen value, built from a mapping."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock.wire import tls
from penstock.wire.document_rules import COLLECTION_PATTERN
from penstock.wire.environment import Environment
from penstock.wire.keys import DAY_S
from penstock.worker.errors import ConfigurationError

SCRIPTS_DIR = Path(__file__).parent / "scripts_allowed"


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What differs between two deployments; what does not is a constant in `app.py`."""

    amqp_url: str = field(default="amqp://guest:guest@localhost:5672/", repr=False)
    """RabbitMQ, `amqp://` or `amqps://`. Environment: AMQP_URL."""

    redis_url: str = field(default="redis://localhost:6379/0", repr=False)
    """Redis, as `penstock.wire.redis_url` reads it. Environment: REDIS_URL."""

    mongo_url: str = field(default="mongodb://localhost:27017/penstock", repr=False)
    """MongoDB; the path is the database. Environment: MONGO_URL."""

    result_expires_s: int = 86_400
    """How long a final state is kept, in seconds, from 1. The same as the gateway's."""

    result_key_prefix: str = ""
    """What the keys of results begin with, the same as the gateway's. Environment:
    RESULT_KEY_PREFIX."""

    max_result_bytes: int = 8 * 1024 * 1024
    """A result whose JSON is longer makes its task FAILURE `ResultTooLarge`."""

    collection_pattern: str = COLLECTION_PATTERN
    """Names of collections that batches which no gateway has checked may go to; the same as the
    gateway's. Environment: COLLECTION_PATTERN."""

    slot_grace_s: int = 30
    """A task that is over its hard limit by so much has cost its slot: it is ended, and the worker
    replaces itself. Environment: SLOT_GRACE_S."""

    wait_replicas: int = 0
    """How many replicas of Redis must have it that a task started. Environment:
    REDIS_WAIT_REPLICAS."""
    blocked_loop_s: float = 1.0
    """A coroutine that holds the event loop of the asyncio pool for longer is named in the log; 0:
    none is. Environment: BLOCKED_LOOP_S."""

    prefetch_multiplier: int = 1
    """Messages that RabbitMQ sends ahead for each slot, from 1. With 1 a slot is idle for a round
    trip between two tasks; with more a message can wait for a task that takes long, while other
    workers are idle. Environment: PREFETCH_MULTIPLIER; `--prefetch-multiplier` wins."""

    scripts_dir: Path = SCRIPTS_DIR
    """The only folder that `scripts.run` starts programs from."""

    tracing: bool = False
    """Whether executions are spans of OpenTelemetry. Environment: TRACING."""

    history_database: str = "penstock_history"
    """The database that the user of `python -m tasks mongo-user` owns besides that of `mongo_url`,
    for the history process. Environment: HISTORY_DATABASE."""

    task_modules: tuple[str, ...] = ()
    """Modules with tasks of your own, besides those that ship. Environment: PENSTOCK_TASKS, names
    with commas between them."""

    health_file: Path | None = None
    """Touched while this process does its work (`liveness.py`). Environment: HEALTH_FILE."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "WorkerConfig":
        """Build the configuration from environment variables.

        Args:
            env: variables; a value may stand in a file instead, see `penstock.wire.environment`.

        Raises:
            ConfigurationError: something is wrong; it names every fault, not only the first.
        """
        environment = Environment(env)
        defaults = cls()
        config = cls(
            amqp_url=environment.url("AMQP_URL", defaults.amqp_url, "amqp", "amqps"),
            redis_url=environment.redis_url("REDIS_URL", defaults.redis_url),
            mongo_url=environment.url("MONGO_URL", defaults.mongo_url, "mongodb", "mongodb+srv"),
            result_expires_s=environment.number(
                "RESULT_EXPIRES_S", defaults.result_expires_s, 1, 366 * DAY_S
            ),
            result_key_prefix=environment.key_prefix("RESULT_KEY_PREFIX"),
            max_result_bytes=environment.number(
                "MAX_RESULT_BYTES", defaults.max_result_bytes, 1, 1 << 30
            ),
            slot_grace_s=environment.number("SLOT_GRACE_S", defaults.slot_grace_s, 1, 366 * DAY_S),
            wait_replicas=environment.number("REDIS_WAIT_REPLICAS", 0, 0, 16),
            prefetch_multiplier=environment.number("PREFETCH_MULTIPLIER", 1, 1, 1_000),
            blocked_loop_s=environment.seconds(
                "BLOCKED_LOOP_S", defaults.blocked_loop_s, or_zero=True
            ),
            collection_pattern=environment.pattern(
                "COLLECTION_PATTERN", defaults.collection_pattern
            ),
            scripts_dir=Path(environment.text("SCRIPTS_DIR", str(defaults.scripts_dir))),
            history_database=environment.text("HISTORY_DATABASE", defaults.history_database),
            tracing=environment.flag("TRACING", default=False),
            task_modules=_modules(environment.text("PENSTOCK_TASKS"), environment.faults),
            health_file=Path(env["HEALTH_FILE"]) if env.get("HEALTH_FILE") else None,
        )
        if {"capath", "cadata"} & tls.parameters(config.amqp_url).keys():
            environment.faults.append(
                "AMQP_URL: workers take the CA from cafile, not from capath or cadata"
            )
        if environment.faults:
            raise ConfigurationError(tuple(environment.faults))
        return config

    @property
    def unverified(self) -> tuple[str, ...]:
        """The variables whose URL switches the check of the server's certificate off."""
        return tls.unverified(
            {
                "AMQP_URL": self.amqp_url,
                "REDIS_URL": self.redis_url,
                "MONGO_URL": self.mongo_url,
            }
        )


def _modules(text: str, faults: list[str]) -> tuple[str, ...]:
    """Return the modules of PENSTOCK_TASKS."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    faults.extend(
        f"PENSTOCK_TASKS: {name!r} is not the name of a module, as acme.tasks is"
        for name in names
        if not all(part.isidentifier() for part in name.split("."))
    )
    return names
