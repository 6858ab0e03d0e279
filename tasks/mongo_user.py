"""Making the user of the workers on a fresh MongoDB that runs beside us.

While there is no user yet, mongod lets anybody on its own machine make the first one (its localhost
exception). Compose runs `python -m tasks mongo-user` once, in the network of the `mongo` service.
There it initiates a replica set first, where the URL names one.
"""

import time
from typing import Any

from pymongo import MongoClient
from pymongo.errors import NotPrimaryError, OperationFailure
from pymongo.uri_parser import parse_uri

LOCALHOST = "mongodb://127.0.0.1:27017"
_ALREADY_INITIALIZED = 23
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_TIMEOUT_MS = 10_000
_PRIMARY_WITHIN_S = 60.0
_ASK_EVERY_S = 0.2


def make_user(url: str, history: str, server: str = LOCALHOST) -> bool:
    """Make the user of `url`, owner of its database and of history's alone, unless it exists.

    The exception grants roles of the database `admin` only, so the user is made as one who may
    change users, and then changes itself.

    Args:
        url: with user, password, database and `authSource=admin`; with `replicaSet` and every
            host where it is a set, which is initiated unless it was.
        history: the database of the history process; the user is its owner, too.
        server: where that server, the first of a set, is reached from its own machine.

    Returns:
        Whether it was made.

    Raises:
        PyMongoError: MongoDB is away, or has users already and not this one with this password.
    """
    parsed = parse_uri(url)
    user, password, database = parsed["username"], parsed["password"], parsed["database"]
    known: dict[str, Any] = {"username": user, "password": password}
    made = not _accepted(server, known)
    name = parsed["options"].get("replicaSet")
    if made and name:
        _initiate(server, name, [f"{host}:{port}" for host, port in parsed["nodelist"]])
    if made:
        # Direct: by another of its names it would not be localhost.
        with MongoClient[Any](
            server, serverSelectionTimeoutMS=_TIMEOUT_MS, directConnection=True
        ) as anybody:
            anybody["admin"].command(
                "createUser", user, pwd=password, roles=["userAdminAnyDatabase"]
            )
    home = url if name else server  # another member may be the primary by now
    with MongoClient[Any](home, serverSelectionTimeoutMS=_TIMEOUT_MS, **known) as client:
        try:
            roles = [{"role": "dbOwner", "db": name} for name in (database, history)]
            client["admin"].command("updateUser", user, roles=roles)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:  # it has changed itself before
                raise
    return made


def _initiate(server: str, name: str, hosts: list[str]) -> None:
    """Make a replica set of these members, and wait until the first is its primary."""
    members = [
        {"_id": place, "host": host, "priority": 1 if place else 2}  # the first is to make the user
        for place, host in enumerate(hosts)
    ]
    with MongoClient[Any](
        server, serverSelectionTimeoutMS=_TIMEOUT_MS, directConnection=True
    ) as anybody:
        try:
            anybody["admin"].command("replSetInitiate", {"_id": name, "members": members})
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:
                raise
        deadline = time.monotonic() + _PRIMARY_WITHIN_S
        while not anybody["admin"].command("hello").get("isWritablePrimary"):
            if time.monotonic() > deadline:
                raise NotPrimaryError(f"{hosts[0]} is not the primary of {name}")
            time.sleep(_ASK_EVERY_S)


def _accepted(server: str, known: dict[str, Any]) -> bool:
    with MongoClient[Any](
        server, serverSelectionTimeoutMS=_TIMEOUT_MS, directConnection=True, **known
    ) as client:
        try:
            client["admin"].command("ping")
        except OperationFailure as error:
            if error.code != _AUTHENTICATION_FAILED:
                raise
            return False
    return True
