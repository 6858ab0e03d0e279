"""`python -m tasks mongo-user`: make MONGO_URL's user on the MongoDB that listens on 127.0.0.1.

Workers, beat and Flower are started by Celery: `celery -A tasks.worker …`.
"""

import os
import sys

from pymongo.errors import PyMongoError

from tasks.config import WorkerConfig
from tasks.mongo_user import make_user


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    if arguments != ["mongo-user"]:
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 2
    try:
        made = make_user(WorkerConfig.from_env(os.environ).mongo_url)
    except PyMongoError as error:
        print(f"the user was not made: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print("the user was made" if made else "the user exists")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
