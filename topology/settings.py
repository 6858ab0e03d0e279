"""What ``python -m topology`` needs to know about its surroundings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.wire import tls

DEFAULT_AMQP_URL = "amqp://guest:guest@localhost:5672/"

DEVSTACK_ENV = Path(".devstack") / "env"


class SettingsError(Exception):
    """The environment is contradictory or unreadable; the message holds every fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Addresses of the broker."""

    amqp_url: str = field(default=DEFAULT_AMQP_URL, repr=False)
    """``AMQP_URL``, or the content of the file that ``AMQP_URL_FILE`` names."""
    management_url: str | None = field(default=None, repr=False)
    """``RABBITMQ_MANAGEMENT_URL`` (or ``…_FILE``); None: compare through AMQP, without bindings."""

    @property
    def vhost(self) -> str:
        """The virtual host in ``amqp_url``."""
        return unquote(urlsplit(self.amqp_url).path[1:]) or "/"

    @property
    def broker(self) -> str:
        """Host, port and virtual host: what may be printed."""
        return f"{urlsplit(self.amqp_url).netloc.rpartition('@')[2]} vhost {self.vhost}"

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: holds every fault.
        """
        faults: list[str] = []
        amqp_url = _url(environment, "AMQP_URL", ("amqp", "amqps"), faults) or DEFAULT_AMQP_URL
        management_url = _url(environment, "RABBITMQ_MANAGEMENT_URL", ("http", "https"), faults)
        if faults:
            raise SettingsError("\n".join(faults))
        return cls(amqp_url=amqp_url, management_url=management_url)


def with_devstack(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return `env` on top of what `make run` wrote to `.devstack/env` in `folder`, if it did."""
    path = folder / DEVSTACK_ENV
    if not path.is_file():
        return dict(env)
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs} | dict(env)


def _url(
    environment: Mapping[str, str], name: str, schemes: tuple[str, ...], faults: list[str]
) -> str | None:
    value, file = environment.get(name), environment.get(f"{name}_FILE")
    if value and file:
        faults.append(f"{name} and {name}_FILE are both set")
    elif file:
        try:
            value = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            faults.append(f"{name}_FILE: {error}")
    if value and urlsplit(value).scheme not in schemes:
        faults.append(f"{name} must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    elif value:
        faults.extend(tls.faults(name, value))
    return value or None
