"""The user that compose makes on a fresh MongoDB with access control."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from devstack.children import Child
from devstack.mongo import Mongo
from devstack.readiness import listens, until_ready
from tasks.mongo_user import make_user

HISTORY = "what_happened"


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Mongo]:
    mongo = Mongo(tmp_path)
    (tmp_path / "data").mkdir()
    child = Child("mongo", [*mongo.child.argv, "--auth"], log=tmp_path / "log", env=mongo.child.env)
    child.spawn()
    await until_ready(child, lambda: listens(mongo.port), 60)
    yield mongo
    await child.kill()


def test_the_user_is_made_once_and_owns_its_database_and_history_s_only(guarded: Mongo):
    server = f"mongodb://127.0.0.1:{guarded.port}"
    url = f"mongodb://penstock:word@127.0.0.1:{guarded.port}/papers?authSource=admin"

    assert make_user(url, HISTORY, server) is True
    assert make_user(url, HISTORY, server) is False

    client: MongoClient[Any] = MongoClient(url)
    with client:
        client["papers"]["a"].insert_one({"_id": 1})
        client["papers"]["a"].create_index("x")
        client[HISTORY]["tasks"].create_index("x")
        with pytest.raises(OperationFailure, match="not authorized"):
            client["other"]["a"].insert_one({"_id": 1})
        with pytest.raises(OperationFailure, match="not authorized"):
            client["admin"].command("createUser", "x", pwd="x", roles=["root"])


async def test_a_replica_set_is_initiated_before_and_only_once(tmp_path: Path):
    mongo = Mongo(tmp_path)
    (tmp_path / "data").mkdir()
    key = tmp_path / "key"
    key.write_text("betweenmembers")
    key.chmod(0o400)
    argv = [*mongo.child.argv, "--replSet", "rs0", "--keyFile", str(key)]
    child = Child("mongo", argv, log=tmp_path / "log", env=mongo.child.env)
    child.spawn()
    await until_ready(child, lambda: listens(mongo.port), 60)
    try:
        host = f"127.0.0.1:{mongo.port}"
        url = f"mongodb://penstock:word@{host}/papers?authSource=admin&replicaSet=rs0"
        made = [
            await asyncio.to_thread(make_user, url, HISTORY, f"mongodb://{host}") for _ in range(2)
        ]
        with MongoClient[Any](url) as client:
            client["papers"]["a"].insert_one({"_id": 1})
            assert client.admin.command("hello")["setName"] == "rs0"
    finally:
        await child.kill()
    assert made == [True, False]


def test_another_password_is_refused(guarded: Mongo):
    server = f"mongodb://127.0.0.1:{guarded.port}"
    url = f"mongodb://penstock:word@127.0.0.1:{guarded.port}/papers?authSource=admin"
    make_user(url, HISTORY, server)

    with pytest.raises(OperationFailure):
        make_user(url.replace("word", "other"), HISTORY, server)
