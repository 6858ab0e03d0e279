"""The configuration of the history process: one frozen value, built from a mapping."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.wire.environment import Environment

DEFAULT_MASK = (
    "password", "passwd", "secret", "token", "api_key", "authorization", "*_secret", "*_token",
)  # fmt: skip
_ARGUMENTS = ("failed", "all", "none")
_LEAST_BYTES = 16 * 1024 * 1024


class ConfigError(Exception):
    """The environment does not make a valid configuration.

    Args:
        faults: every fault found, one sentence each.
    """

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryConfig:
    """Everything the history process can be told."""

    amqp_url: str = field(default="amqp://guest:guest@localhost:5672/", repr=False)
    """RabbitMQ, for the events of stock workers. `AMQP_URL`."""
    redis_url: str = field(default="redis://localhost:6379/0", repr=False)
    """Redis, as `penstock.wire.redis_url` reads it. `REDIS_URL`."""
    mongo_url: str = field(default="mongodb://localhost:27017/", repr=False)
    """MongoDB; the path of the URL is not used. `MONGO_URL`."""
    database: str = "penstock_history"
    """The database that holds everything. `HISTORY_DATABASE`."""
    host: str = "127.0.0.1"
    """Address that the query server listens on. `HISTORY_HOST`."""
    port: int = 8090
    """Its port, 1–65535. `HISTORY_PORT`."""
    secret: str = field(default="", repr=False)
    """What gateways must show as a bearer token; empty: only on loopback. `HISTORY_SECRET`."""
    days: int = 7
    """How long a task is kept after its last change, 1–3660 days. `HISTORY_DAYS`."""
    max_bytes: int = 10 * 1024 * 1024 * 1024
    """What tasks and counts of failures may take before MongoDB compresses them, the counts a
    quarter of it; beyond, the oldest are deleted. `HISTORY_MAX_BYTES`."""
    arguments: str = "failed"
    """Of which tasks the request is kept: `failed`, `all` or `none`. `HISTORY_ARGUMENTS`."""
    mask: tuple[str, ...] = DEFAULT_MASK
    """Patterns (fnmatch, lower case) of keys whose values are kept as `***`. `HISTORY_MASK`."""
    events: bool = True
    """Whether Celery's events of stock workers are taken from RabbitMQ. `HISTORY_EVENTS`."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "HistoryConfig":
        """Build the configuration from environment variables.

        A value may stand in a file instead, see `penstock.wire.environment`.

        Raises:
            ConfigError: with every fault.
        """
        reader = Environment(environ)
        defaults = cls()
        config = cls(
            amqp_url=reader.url("AMQP_URL", defaults.amqp_url, "amqp", "amqps"),
            redis_url=reader.redis_url("REDIS_URL", defaults.redis_url, socket=True),
            mongo_url=reader.url("MONGO_URL", defaults.mongo_url, "mongodb", "mongodb+srv"),
            database=_name(reader, "HISTORY_DATABASE", defaults.database),
            host=reader.host("HISTORY_HOST", defaults.host),
            port=reader.number("HISTORY_PORT", defaults.port, 1, 65_535),
            secret=reader.text("HISTORY_SECRET"),
            days=reader.number("HISTORY_DAYS", defaults.days, 1, 3660),
            max_bytes=reader.number("HISTORY_MAX_BYTES", defaults.max_bytes, _LEAST_BYTES, 1 << 50),
            arguments=_choice(reader, "HISTORY_ARGUMENTS", _ARGUMENTS),
            mask=_patterns(reader, "HISTORY_MASK", defaults.mask),
            events=reader.flag("HISTORY_EVENTS", default=defaults.events),
        )
        if not config.secret and not config.loopback:
            reader.faults.append(
                f"HISTORY_HOST={config.host} is not a loopback address: set HISTORY_SECRET, here "
                "and for the gateways"
            )
        if reader.faults:
            raise ConfigError(tuple(reader.faults))
        return config

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the query server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _name(reader: Environment, name: str, default: str) -> str:
    value = reader.text(name, default)
    if len(value.encode()) > 63 or set(value) & set('/\\. "$*<>:|?\0'):
        reader.faults.append(f"{name}={value} is no name of a MongoDB database")
        return default
    return value


def _choice(reader: Environment, name: str, allowed: tuple[str, ...]) -> str:
    value = reader.text(name, allowed[0]).lower()
    if value not in allowed:
        reader.faults.append(f"{name}={value} is none of {', '.join(allowed)}")
        return allowed[0]
    return value


def _patterns(reader: Environment, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    words = tuple(word.strip().lower() for word in reader.text(name).split(",") if word.strip())
    return words or default
