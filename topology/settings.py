"""What ``python -m topology`` needs to know about its surroundings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock.wire.environment import Environment
from penstock.wire.hosts import printable, vhost_of

DEFAULT_AMQP_URL = "amqp://guest:guest@localhost:5672/"

DEVSTACK_ENV = Path(".devstack") / "env"


class SettingsError(Exception):
    """The environment is contradictory or unreadable; the message holds every fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Addresses of the broker."""

    amqp_url: str = field(default=DEFAULT_AMQP_URL, repr=False)
    """``AMQP_URL``, or a file, see ``penstock.wire.environment``; all hosts of a cluster."""
    management_url: str | None = field(default=None, repr=False)
    """``RABBITMQ_MANAGEMENT_URL``; None: compare through AMQP, without bindings."""

    @property
    def vhost(self) -> str:
        """The virtual host in ``amqp_url``."""
        return vhost_of(self.amqp_url)

    @property
    def broker(self) -> str:
        """Hosts, ports and virtual host: what may be printed."""
        return f"{printable(self.amqp_url)} vhost {self.vhost}"

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: holds every fault.
        """
        reader = Environment(environment)
        amqp_url = reader.url("AMQP_URL", DEFAULT_AMQP_URL, "amqp", "amqps")
        management_url = reader.url("RABBITMQ_MANAGEMENT_URL", "", "http", "https")
        if reader.faults:
            raise SettingsError("\n".join(reader.faults))
        return cls(amqp_url=amqp_url, management_url=management_url or None)


def with_devstack(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return `env` on top of what `make run` wrote to `.devstack/env` in `folder`, if it did.

    A setting that `env` has in a file (`NAME_FILE`) is not taken from `make run`, either.
    """
    path = folder / DEVSTACK_ENV
    if not path.is_file():
        return dict(env)
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    written = {name.strip(): value.strip() for name, _, value in pairs}
    return {n: value for n, value in written.items() if not env.get(f"{n}_FILE")} | dict(env)
