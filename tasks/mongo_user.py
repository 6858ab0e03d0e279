"""`python -m tasks.mongo_user`: make MONGO_URL's user on a fresh MongoDB that runs beside us.

Compose runs it once in the network of the `mongo` service: while there is no user yet, mongod lets
anybody on its own machine make the first one (its localhost exception).
"""

import os
import sys
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from tasks.config import WorkerConfig

LOCALHOST = "mongodb://127.0.0.1:27017"
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_TIMEOUT_MS = 10_000


def make_user(url: str, server: str = LOCALHOST) -> bool:
    """Make the user of `url`, owner of its database and of nothing else, unless it exists.

    The exception grants roles of the database `admin` only, so the user is made as one who may
    change users, and then changes itself.

    Args:
        url: with user, password, database and `authSource=admin`.
        server: where that server is reached from its own machine.

    Returns:
        Whether it was made.

    Raises:
        PyMongoError: MongoDB is away, or has users already and not this one with this password.
    """
    parsed = parse_uri(url)
    user, password, database = parsed["username"], parsed["password"], parsed["database"]
    known: dict[str, Any] = {"username": user, "password": password}
    made = not _accepted(server, known)
    if made:
        with MongoClient[Any](server, serverSelectionTimeoutMS=_TIMEOUT_MS) as anybody:
            anybody["admin"].command(
                "createUser", user, pwd=password, roles=["userAdminAnyDatabase"]
            )
    with MongoClient[Any](server, serverSelectionTimeoutMS=_TIMEOUT_MS, **known) as client:
        try:
            roles = [{"role": "dbOwner", "db": database}]
            client["admin"].command("updateUser", user, roles=roles)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:  # it has changed itself before
                raise
    return made


def _accepted(server: str, known: dict[str, Any]) -> bool:
    with MongoClient[Any](server, serverSelectionTimeoutMS=_TIMEOUT_MS, **known) as client:
        try:
            client["admin"].command("ping")
        except OperationFailure as error:
            if error.code != _AUTHENTICATION_FAILED:
                raise
            return False
    return True


def main() -> int:
    """Make the user of MONGO_URL; the exit status."""
    try:
        made = make_user(WorkerConfig.from_env(os.environ).mongo_url)
    except PyMongoError as error:
        print(f"the user was not made: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print("the user was made" if made else "the user exists")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
