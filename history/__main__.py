"""`python -m history`: read the environment, write and answer until told to stop."""

import logging
import os
import sys

import uvloop

from history.config import ConfigError, HistoryConfig
from history.serving import serve


def main() -> int:
    """Run the process; the exit status."""
    logging.basicConfig(
        level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        config = HistoryConfig.from_env(os.environ)
    except ConfigError as error:
        print("the configuration is not valid:", *error.faults, sep="\n  ", file=sys.stderr)  # noqa: T201
        return 2
    try:
        uvloop.run(serve(config))
    except OSError as error:
        print(f"cannot listen on {config.host}:{config.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stderr.flush()
    # An exit in order joins Motor's threads, which wait for a name server or a MongoDB that is away
    # for as long as either takes: what is to be saved has been, or is read again.
    os._exit(status)
