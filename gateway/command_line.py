"""`python -m gateway --help`: what it does, and every variable that it reads."""

import argparse
import textwrap

from penstock import VERSION

_ABOUT = """\
Serve HTTP for a Celery deployment: tasks and documents in, states and results out, by way of
RabbitMQ and Redis. It serves until SIGTERM or Ctrl-C. There are no options: environment variables
configure it, each with a default; docs/configuration.md says what each means.
"""


_INDENT, _WIDTH = 24, 96
_GROUPS = (
    (
        "servers and layout",
        "AMQP_URL REDIS_URL REDIS_WAIT_REPLICAS RABBITMQ_MANAGEMENT_URL TOPOLOGY_FILE",
    ),
    (
        "listening",
        """GATEWAY_HOST GATEWAY_PORT GATEWAY_PROCESSES MAX_CONNECTIONS DRAIN_NOTICE_S
        DRAIN_TIMEOUT_S""",
    ),
    ("callers", "GATEWAY_KEYS_FILE GATEWAY_ALLOW_ANONYMOUS ALLOWED_HOSTS ALLOWED_ORIGINS"),
    ("task ids and results", "TASK_ID_KEYS RESULT_EXPIRES_S RESULT_KEY_PREFIX CONTROL_EXCHANGES"),
    ("history", "HISTORY_URL HISTORY_SECRET"),
    ("publishing", "CONFIRM_TIMEOUT_S MAX_INFLIGHT_MESSAGES MAX_INFLIGHT_BYTES"),
    (
        "bodies",
        """MAX_TASK_BYTES MAX_ARRAY_BYTES MAX_DOCUMENT_BYTES MAX_BODY_BYTES_HELD HEADER_TIMEOUT_S
        BODY_TIMEOUT_S COLLECTION_PATTERN""",
    ),
    ("callbacks", "CALLBACK_HOSTS CALLBACK_ALLOW_PRIVATE CALLBACK_SECRET"),
    (
        "quotas of a tenant",
        """SCHEDULE_QUOTA SCHEDULE_QUOTA_BYTES IDEMPOTENCY_QUOTA_BYTES CALLBACK_QUOTA_BYTES
        RESULT_QUOTA_BYTES""",
    ),
    ("metrics and logs", "METRICS_PUBLIC ACCESS_LOG GATEWAY_METRICS_FOLDER TRACING TRACE_URL"),
)
"""Every variable under what it is about; a test holds it to the configuration."""


def check_arguments(arguments: list[str]) -> None:
    """Explain or refuse what stands on the command line; nothing may.

    Args:
        arguments: Behind `python -m gateway`.

    Raises:
        SystemExit: After the explanation (0), or the refusal (2).
    """
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description=_ABOUT,
        epilog="environment (secrets and addresses also from the file that NAME_FILE names):\n"
        + "\n".join(_listed(title, names) for title, names in _GROUPS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"penstock {VERSION}")
    parser.parse_args(arguments)


def _listed(title: str, names: str) -> str:
    indent = f"  {title}:".ljust(_INDENT)
    return textwrap.fill(
        ", ".join(names.split()), _WIDTH, initial_indent=indent, subsequent_indent=" " * _INDENT
    )
