"""`python -m gateway`: read the environment, serve until told to stop."""

import dataclasses
import logging
import os
import secrets
import sys

import uvloop

from gateway.access.key_tables import KeysFileError
from gateway.access.keys_file import read_keys
from gateway.command_line import check_arguments
from gateway.config import ConfigError, GatewayConfig
from gateway.processes import CHILD_MARK, MetricsFolderError, supervise
from gateway.server import serve
from gateway.telemetry.log import configure_logging
from penstock import tracing
from topology.errors import TopologyError
from topology.layout import load as load_layout

log = logging.getLogger("gateway")


def check_files(config: GatewayConfig) -> None:
    """Read the files that each process of several would read, and fail of, again and again.

    Raises:
        KeysFileError: The key file cannot be used.
        TopologyError: The layout cannot.
    """
    load_layout(config.topology_file)
    if config.keys_file is not None:
        read_keys(config.keys_file)


def main() -> int:
    """Run the gateway; the exit status."""
    check_arguments(sys.argv[1:])
    configure_logging()
    try:
        config = GatewayConfig.from_env(os.environ)
    except ConfigError as error:
        print("the configuration is not valid:", *error.faults, sep="\n  ", file=sys.stderr)  # noqa: T201
        return 2
    if config.tracing:
        try:
            tracing.spans()
        except tracing.TracingMissingError as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 2
    child = CHILD_MARK in os.environ
    if not child and config.unverified:
        log.warning("certificates-not-checked", extra={"of": config.unverified})
    if not child and config.unreachable:
        log.warning(
            "only-loopback-hosts",
            extra={"host": config.host, "advice": "set ALLOWED_HOSTS, or configure keys"},
        )
    if not config.task_id_keys:
        log.warning("no-task-id-keys", extra={"advice": "ids will not outlive this process"})
        key = secrets.token_bytes(32)
        os.environ["TASK_ID_KEYS"] = f"0:{key.hex()}"
        config = dataclasses.replace(config, task_id_keys=((0, key),))
    try:
        if config.processes > 1 and not child:
            check_files(config)
            return supervise(config)
        uvloop.run(serve(config, reuse_port=child))
    except KeysFileError as error:
        print("the key file is not valid:", *error.faults, sep="\n  ", file=sys.stderr)  # noqa: T201
        return 2
    except TopologyError as error:
        print("the topology file is not valid:", *error.faults, sep="\n  ", file=sys.stderr)  # noqa: T201
        return 2
    except MetricsFolderError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        print(f"cannot listen on {config.host}:{config.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
