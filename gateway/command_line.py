"""`python -m gateway --help`: what it does, and every variable that it reads."""

import argparse
import textwrap

from gateway.config import GatewayConfig
from penstock import VERSION

_ABOUT = """\
Serve HTTP for a Celery deployment: tasks and documents in, states and results out, by way of
RabbitMQ and Redis. It serves until SIGTERM or Ctrl-C. There are no options: environment variables
configure it, each with a default; docs/configuration.md says what each means.
"""


class _Asked(dict[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]  # narrower: of text only
        """Remember the name."""
        self.names.append(name)
        return default


def variables() -> list[str]:
    """Every environment variable of the gateway, in the order of its configuration."""
    asked = _Asked()
    GatewayConfig.from_env(asked)
    return list(dict.fromkeys(name for name in asked.names if not name.endswith("_FILE_FILE")))


def check_arguments(arguments: list[str]) -> None:
    """Explain or refuse what stands on the command line; nothing may.

    Args:
        arguments: Behind `python -m gateway`.

    Raises:
        SystemExit: After the explanation (0), or the refusal (2).
    """
    names = variables()
    plain = [name for name in names if name.removesuffix("_FILE") == name or name[:-5] not in names]
    listed = textwrap.fill(", ".join(plain), 96, initial_indent="  ", subsequent_indent="  ")
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description=_ABOUT,
        epilog="environment (secrets and addresses also from the file that NAME_FILE names):\n"
        + listed,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"penstock {VERSION}")
    parser.parse_args(arguments)
