"""Making the user of the workers on a fresh MongoDB that runs beside us.

While there is no user yet, mongod lets anybody on its own machine make the first one (its localhost
exception). Compose runs `python -m tasks mongo-user` once, in the network of the `mongo` service.
"""

from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure
from pymongo.uri_parser import parse_uri

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
