"""The gateway's configuration: one frozen value, built from a mapping, all faults at once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.hosts import is_loopback, split_host
from penstock.wire import tls
from penstock.wire.document_rules import COLLECTION_PATTERN, MAX_DOCUMENT_BYTES
from penstock.wire.environment import Environment


class ConfigError(Exception):
    """The environment does not make a valid configuration.

    Args:
        faults: Every fault found, one sentence each.
    """

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """What one tenant may keep in Redis."""

    schedules: int = 1000
    """How many periodic tasks. `SCHEDULE_QUOTA`."""
    schedule_bytes: int = 16 * 1024 * 1024
    """JSON of their definitions together. `SCHEDULE_QUOTA_BYTES`."""
    idempotency_bytes: int = 64 * 1024 * 1024
    """Records of idempotency keys of a day. `IDEMPOTENCY_QUOTA_BYTES`."""
    callback_bytes: int = 16 * 1024 * 1024
    """Callback URLs of tasks whose ends are not announced yet. `CALLBACK_QUOTA_BYTES`."""
    result_bytes: int | None = None
    """Results and event streams of tasks that have ended; 0: no bound; None: three quarters of what
    Redis may take (`maxmemory`), no bound where it has none. `RESULT_QUOTA_BYTES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Everything the gateway process can be told."""

    amqp_url: str = field(default="amqp://guest:guest@localhost:5672/", repr=False)
    """RabbitMQ, `amqp://` or `amqps://`. `AMQP_URL`."""
    redis_url: str = field(default="redis://localhost:6379/0", repr=False)
    """Redis with Celery's results, as `penstock.wire.redis_url` reads it. `REDIS_URL`."""
    redis_wait_replicas: int = 0
    """How many replicas of Redis must have a claim or a revocation before it is answered;
    `REDIS_WAIT_REPLICAS`."""
    management_url: str | None = field(default=None, repr=False)
    """RabbitMQ's management API, for queue depths and rates, `http://` or `https://`.
    `RABBITMQ_MANAGEMENT_URL`."""
    topology_file: Path | None = None
    """Layout file; None: the one that ships. `TOPOLOGY_FILE`."""
    host: str = "127.0.0.1"
    """Address to listen on. `GATEWAY_HOST`."""
    port: int = 8080
    """Port to listen on, 1–65535. `GATEWAY_PORT`."""
    processes: int = 1
    """Processes that share the port with SO_REUSEPORT, 1–64. `GATEWAY_PROCESSES`."""
    keys_file: Path | None = None
    """TOML file of API keys; None: anonymous access. `GATEWAY_KEYS_FILE`."""
    allow_anonymous: bool = False
    """Without keys, listen on other addresses than loopback too. `GATEWAY_ALLOW_ANONYMOUS`."""
    task_id_keys: tuple[tuple[int, bytes], ...] = field(default=(), repr=False)
    """(number 0–15, key of 16–64 bytes); the first signs, all verify. `TASK_ID_KEYS`."""
    result_expires_s: int = 86_400
    """How long results are kept, as the workers are told too. `RESULT_EXPIRES_S`."""
    result_key_prefix: str = ""
    """What the keys of results begin with, for workers too: `global_keyprefix` of the apps' result
    backend. `RESULT_KEY_PREFIX`."""
    control_exchanges: tuple[str, ...] = ("celery",)
    """Celery's setting `control_exchange` of each app whose workers are to hear of revocations.
    `CONTROL_EXCHANGES`."""
    confirm_timeout_s: float = 5.0
    """How long a publish waits for its confirm before 504. `CONFIRM_TIMEOUT_S`."""
    max_inflight_messages: int = 20_000
    """Unconfirmed messages of one process; beyond: 503 `overloaded`. `MAX_INFLIGHT_MESSAGES`."""
    max_inflight_bytes: int = 64 * 1024 * 1024
    """Unconfirmed bytes of one process; beyond: 503 `overloaded`. `MAX_INFLIGHT_BYTES`."""
    max_task_bytes: int = 1024 * 1024
    """Expanded size of one task's body. `MAX_TASK_BYTES`."""
    max_array_bytes: int = 64 * 1024 * 1024
    """Expanded size of an array of tasks or documents. `MAX_ARRAY_BYTES`."""
    max_document_bytes: int = MAX_DOCUMENT_BYTES
    """JSON size of one document. `MAX_DOCUMENT_BYTES`."""
    collection_pattern: str = COLLECTION_PATTERN
    """Names of collections that may be ingested to; the same as the workers'.
    `COLLECTION_PATTERN`."""
    tracing: bool = False
    """Make spans of OpenTelemetry, which must be installed. `TRACING`."""
    trace_url: str = ""
    """Where a trace is shown, with `{trace_id}` in it; empty: nowhere. `TRACE_URL`."""
    access_log: bool = True
    """Write one log line for each request. `ACCESS_LOG`."""
    metrics_public: bool = False
    """Serve /metrics without a key. `METRICS_PUBLIC`."""
    metrics_folder: Path | None = None
    """Where the processes of one port add up their metrics; made by the one that starts them.
    `GATEWAY_METRICS_FOLDER`."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of browser pages besides the gateway's own; `*` for any. `ALLOWED_ORIGINS`."""
    allowed_hosts: tuple[str, ...] = ()
    """Without keys, the hosts (fnmatch, lower case, no port) that requests may be addressed to
    besides loopback; `*` for any. `ALLOWED_HOSTS`."""
    max_connections: int = 16_384
    """Open connections of one process; beyond: 503 `overloaded`, closed. `MAX_CONNECTIONS`."""
    header_timeout_s: float = 10.0
    """From a connection, or the first byte of a request, to the end of its head.
    `HEADER_TIMEOUT_S`."""
    body_timeout_s: float = 30.0
    """Longest pause between two chunks of a request body; one that is read whole must also come at
    1 KiB/s on average once so much time is over. `BODY_TIMEOUT_S`."""
    max_body_bytes_held: int = 128 * 1024 * 1024
    """Bodies and documents held in memory by all requests of one process; beyond: 503
    `overloaded`. `MAX_BODY_BYTES_HELD`."""
    drain_notice_s: float = 0.0
    """From SIGTERM, when `/readyz` turns 503, until new work is refused. `DRAIN_NOTICE_S`."""
    drain_timeout_s: float = 20.0
    """Longest time from SIGTERM to the end of requests in flight. `DRAIN_TIMEOUT_S`."""
    callback_hosts: tuple[str, ...] = ()
    """Hosts (fnmatch) that `callback_url` may name; none: no callbacks. `CALLBACK_HOSTS`."""
    callback_private: bool = False
    """Callbacks may go to private addresses. `CALLBACK_ALLOW_PRIVATE`."""
    callback_secret: bytes = field(default=b"", repr=False)
    """Key of the callbacks' HMAC signature. `CALLBACK_SECRET`."""
    history_url: str | None = None
    """The history process, `http://` or `https://`; None: history is off. `HISTORY_URL`."""
    history_secret: str = field(default="", repr=False)
    """Its bearer token. `HISTORY_SECRET`."""
    quotas: Quotas = field(default_factory=Quotas)
    """What each tenant may keep in Redis."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "GatewayConfig":
        """Build the configuration from environment variables.

        A value may stand in a file instead, see `penstock.wire.environment`.

        Raises:
            ConfigError: With every fault.
        """
        reader = _Reader(environ)
        defaults = cls()
        config = cls(
            amqp_url=reader.url("AMQP_URL", defaults.amqp_url, "amqp", "amqps"),
            redis_url=reader.redis_url("REDIS_URL", defaults.redis_url, socket=True),
            redis_wait_replicas=reader.number("REDIS_WAIT_REPLICAS", 0, 0, 16),
            management_url=reader.url("RABBITMQ_MANAGEMENT_URL", "", "http", "https") or None,
            topology_file=reader.path("TOPOLOGY_FILE"),
            host=reader.host("GATEWAY_HOST", defaults.host),
            port=reader.number("GATEWAY_PORT", defaults.port, 1, 65_535),
            processes=reader.number("GATEWAY_PROCESSES", defaults.processes, 1, 64),
            keys_file=reader.path("GATEWAY_KEYS_FILE"),
            allow_anonymous=reader.flag("GATEWAY_ALLOW_ANONYMOUS", default=False),
            task_id_keys=reader.signing_keys("TASK_ID_KEYS"),
            result_expires_s=reader.number("RESULT_EXPIRES_S", 86_400, 1, 366 * 86_400),
            result_key_prefix=reader.key_prefix("RESULT_KEY_PREFIX"),
            control_exchanges=reader.words("CONTROL_EXCHANGES") or defaults.control_exchanges,
            confirm_timeout_s=reader.seconds("CONFIRM_TIMEOUT_S", defaults.confirm_timeout_s),
            max_inflight_messages=reader.number("MAX_INFLIGHT_MESSAGES", 20_000, 1, 1_000_000),
            max_inflight_bytes=reader.number(
                "MAX_INFLIGHT_BYTES", defaults.max_inflight_bytes, 1024, 1 << 34
            ),
            max_task_bytes=reader.number("MAX_TASK_BYTES", defaults.max_task_bytes, 1, 1 << 23),
            max_array_bytes=reader.number("MAX_ARRAY_BYTES", defaults.max_array_bytes, 1, 1 << 30),
            max_document_bytes=reader.number(
                "MAX_DOCUMENT_BYTES", defaults.max_document_bytes, 1, MAX_DOCUMENT_BYTES
            ),
            collection_pattern=reader.pattern("COLLECTION_PATTERN", defaults.collection_pattern),
            tracing=reader.flag("TRACING", default=False),
            trace_url=reader.text("TRACE_URL", ""),
            access_log=reader.flag("ACCESS_LOG", default=True),
            metrics_public=reader.flag("METRICS_PUBLIC", default=False),
            metrics_folder=reader.folder("GATEWAY_METRICS_FOLDER"),
            allowed_origins=reader.origins("ALLOWED_ORIGINS"),
            allowed_hosts=reader.hosts("ALLOWED_HOSTS"),
            max_connections=reader.number("MAX_CONNECTIONS", defaults.max_connections, 1, 1 << 20),
            header_timeout_s=reader.seconds("HEADER_TIMEOUT_S", defaults.header_timeout_s),
            max_body_bytes_held=reader.number(
                "MAX_BODY_BYTES_HELD", defaults.max_body_bytes_held, 1 << 20, 1 << 36
            ),
            body_timeout_s=reader.seconds("BODY_TIMEOUT_S", defaults.body_timeout_s),
            drain_notice_s=reader.number("DRAIN_NOTICE_S", 0, 0, 3600),
            drain_timeout_s=reader.seconds("DRAIN_TIMEOUT_S", defaults.drain_timeout_s),
            callback_hosts=reader.words("CALLBACK_HOSTS"),
            callback_private=reader.flag("CALLBACK_ALLOW_PRIVATE", default=False),
            callback_secret=reader.text("CALLBACK_SECRET", "").encode(),
            history_url=reader.url("HISTORY_URL", "", "http", "https").rstrip("/") or None,
            history_secret=reader.text("HISTORY_SECRET"),
            quotas=Quotas(
                schedules=reader.number("SCHEDULE_QUOTA", defaults.quotas.schedules, 0, 1 << 20),
                **{
                    f"{kind}_bytes": reader.number(
                        f"{kind.upper()}_QUOTA_BYTES",
                        getattr(defaults.quotas, f"{kind}_bytes"),
                        0,
                        1 << 36,
                    )
                    for kind in ("schedule", "idempotency", "callback")
                },
                result_bytes=reader.number("RESULT_QUOTA_BYTES", 0, 0, 1 << 50)
                if reader.text("RESULT_QUOTA_BYTES", "")
                else None,
            ),
        )
        if not config.keys_file and not config.allow_anonymous and not config.loopback:
            reader.faults.append(
                f"GATEWAY_HOST={config.host} is not a loopback address and no keys are configured: "
                "set GATEWAY_KEYS_FILE, or GATEWAY_ALLOW_ANONYMOUS=1"
            )
        if config.callback_hosts and not config.callback_secret:
            reader.faults.append("CALLBACK_HOSTS is set: set CALLBACK_SECRET, too, to sign with")
        if config.trace_url and (
            "{trace_id}" not in config.trace_url
            or not config.trace_url.startswith(("http://", "https://"))
        ):
            reader.faults.append("TRACE_URL is no http(s) URL with {trace_id} in it")
        if reader.faults:
            raise ConfigError(tuple(reader.faults))
        return config

    @property
    def unverified(self) -> tuple[str, ...]:
        """The variables whose URL switches the check of the server's certificate off."""
        return tls.unverified(
            {
                "AMQP_URL": self.amqp_url,
                "REDIS_URL": self.redis_url,
                "RABBITMQ_MANAGEMENT_URL": self.management_url or "",
            }
        )

    @property
    def unreachable(self) -> bool:
        """Whether it listens for other machines, whose requests it will refuse by their host."""
        return not (self.loopback or self.keys_file or self.allowed_hosts)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        return is_loopback(f"[{self.host}]" if ":" in self.host else self.host)


class _Reader(Environment):
    """Reads the settings that only a gateway has."""

    def path(self, name: str) -> Path | None:
        value = self.environ.get(name, "").strip()
        if not value:
            return None
        if not Path(value).is_file():
            self.faults.append(f"{name}={value} is not a file")
        return Path(value)

    def folder(self, name: str) -> Path | None:
        value = self.environ.get(name, "").strip()
        if value and not Path(value).is_dir():
            self.faults.append(f"{name}={value} is not a folder")
        return Path(value) if value else None

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in self.text(name, "").split(",") if word.strip())

    def hosts(self, name: str) -> tuple[str, ...]:
        names = tuple(word.lower().removesuffix(".") for word in self.words(name))
        for word in names:
            found = split_host(word)
            if found is None or found[1] or word.endswith(":"):
                self.faults.append(f"{name}: {word!r} is no host; name it without scheme and port")
        return names

    def origins(self, name: str) -> tuple[str, ...]:
        words = self.words(name)
        for word in words:
            scheme, mark, host = word.partition("://")
            sound = mark and scheme and split_host(host) is not None
            if not sound and word not in {"*", "null"}:
                self.faults.append(f"{name}: {word!r} is no origin, which is scheme://host[:port]")
        return words

    def signing_keys(self, name: str) -> tuple[tuple[int, bytes], ...]:
        keys: dict[int, bytes] = {}
        for word in self.words(name):
            number, _, digits = word.partition(":")
            sound = re.fullmatch(r"\d{1,2}", number) and re.fullmatch(
                r"(?:[0-9a-fA-F]{2}){16,64}", digits
            )
            if not sound or int(number) > 15 or int(number) in keys:
                self.faults.append(
                    f"{name}: each key is NUMBER:HEX with a number 0-15 used once and 32-128 "
                    "hex digits"
                )
                continue
            keys[int(number)] = bytes.fromhex(digits)
        return tuple(keys.items())
