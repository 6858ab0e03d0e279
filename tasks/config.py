"""The configuration of a worker process: one frozen value, built from a mapping."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from penstock.wire import tls
from penstock.wire.document_rules import COLLECTION_PATTERN
from penstock.worker.errors import ConfigurationError

SCRIPTS_DIR = Path(__file__).parent / "scripts_allowed"


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What differs between two deployments; what does not is a constant in `app.py`."""

    amqp_url: str = field(default="amqp://guest:guest@localhost:5672/", repr=False)
    """RabbitMQ, `amqp://` or `amqps://`. Environment: AMQP_URL or AMQP_URL_FILE."""

    redis_url: str = field(default="redis://localhost:6379/0", repr=False)
    """Redis, `redis://` or `rediss://`. Environment: REDIS_URL or REDIS_URL_FILE."""

    mongo_url: str = field(default="mongodb://localhost:27017/penstock", repr=False)
    """MongoDB; the path is the database. Environment: MONGO_URL or MONGO_URL_FILE."""

    result_expires_s: int = 86_400
    """How long a final state is kept, in seconds, from 1. The same as the gateway's."""

    max_result_bytes: int = 8 * 1024 * 1024
    """A result whose JSON is longer makes its task FAILURE `ResultTooLarge`."""

    collection_pattern: str = COLLECTION_PATTERN
    """Names of collections that batches which no gateway has checked may go to; the same as the
    gateway's. Environment: COLLECTION_PATTERN."""

    slot_grace_s: int = 30
    """A task that is over its hard limit by so much has cost its slot: it is ended, and the worker
    replaces itself. Environment: SLOT_GRACE_S."""

    scripts_dir: Path = SCRIPTS_DIR
    """The only folder that `scripts.run` starts programs from."""

    health_file: Path | None = None
    """Touched while this process does its work (`liveness.py`). Environment: HEALTH_FILE."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "WorkerConfig":
        """Build the configuration from environment variables.

        Args:
            env: variables; every `*_URL` may come from the file named by `*_URL_FILE` instead.

        Raises:
            ConfigurationError: something is wrong; it names every fault, not only the first.
        """
        faults: list[str] = []
        values = {
            "amqp_url": _url(env, "AMQP_URL", ("amqp", "amqps"), faults),
            "redis_url": _url(env, "REDIS_URL", ("redis", "rediss"), faults),
            "mongo_url": _url(env, "MONGO_URL", ("mongodb", "mongodb+srv"), faults),
            "result_expires_s": _positive(env, "RESULT_EXPIRES_S", faults),
            "max_result_bytes": _positive(env, "MAX_RESULT_BYTES", faults),
            "slot_grace_s": _positive(env, "SLOT_GRACE_S", faults),
            "collection_pattern": _pattern(env, "COLLECTION_PATTERN", faults),
            "scripts_dir": Path(env["SCRIPTS_DIR"]) if env.get("SCRIPTS_DIR") else None,
            "health_file": Path(env["HEALTH_FILE"]) if env.get("HEALTH_FILE") else None,
        }
        if faults:
            raise ConfigurationError(tuple(faults))
        return cls(**{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]  # each value has its field's type by construction

    @property
    def unverified(self) -> tuple[str, ...]:
        """The variables whose URL switches the check of the server's certificate off."""
        urls = {
            "AMQP_URL": self.amqp_url,
            "REDIS_URL": self.redis_url,
            "MONGO_URL": self.mongo_url,
        }
        return tuple(name for name, url in urls.items() if not tls.is_verified(url))


def _url(
    env: Mapping[str, str], name: str, schemes: tuple[str, ...], faults: list[str]
) -> str | None:
    value, path = env.get(name), env.get(f"{name}_FILE")
    if not value and path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            faults.append(f"{name}_FILE: cannot read {path}: {error.strerror}")
            return None
    if not value:
        return None
    if urlsplit(value).scheme not in schemes:
        faults.append(f"{name} must start with {' or '.join(f'{s}://' for s in schemes)}")
    else:
        faults.extend(tls.faults(name, value))
        if name == "AMQP_URL" and {"capath", "cadata"} & tls.parameters(value).keys():
            faults.append("AMQP_URL: workers take the CA from cafile, not from capath or cadata")
    return value


def _pattern(env: Mapping[str, str], name: str, faults: list[str]) -> str | None:
    text = env.get(name)
    try:
        re.compile(text or "")
    except re.error as error:
        faults.append(f"{name} is not a regular expression: {error}")
        return None
    return text or None


def _positive(env: Mapping[str, str], name: str, faults: list[str]) -> int | None:
    text = env.get(name)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        faults.append(f"{name} must be a whole number from 1, not {text!r}")
        return None
    return int(text)
