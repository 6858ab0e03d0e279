"""`python -m tasks mongo-user`: make MONGO_URL's user on the MongoDB that listens on 127.0.0.1."""

import argparse
import os
import sys

from pymongo.errors import PyMongoError

from penstock import VERSION
from tasks.config import WorkerConfig
from tasks.mongo_user import make_user


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    check_arguments(arguments)
    try:
        config = WorkerConfig.from_env(os.environ)
        made = make_user(config.mongo_url, config.history_database)
    except PyMongoError as error:
        print(f"the user was not made: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print("the user was made" if made else "the user exists")  # noqa: T201
    return 0


def check_arguments(arguments: list[str]) -> None:
    """Explain or refuse the command line.

    Raises:
        SystemExit: after the explanation (0), or the refusal (2).
    """
    parser = argparse.ArgumentParser(
        prog="python -m tasks",
        description="Make MONGO_URL's user on the MongoDB that listens on 127.0.0.1, while there "
        "is none.",
        epilog="Celery starts workers, beat and Flower: `celery -A tasks.worker worker`, "
        "`celery -A tasks.worker beat`, `celery -A tasks.worker flower`. Environment: AMQP_URL, "
        "REDIS_URL, MONGO_URL, HISTORY_DATABASE and others; see docs/configuration.md.",
    )
    parser.add_argument("--version", action="version", version=f"penstock {VERSION}")
    parser.add_argument("command", choices=["mongo-user"])
    parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
