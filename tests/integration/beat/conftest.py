"""A beat per name, on servers of the session."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devstack.children import Child
from devstack.product import ROOT
from devstack.programs import child_environment
from penstock.worker.app import Penstock
from penstock.worker.redis_client import sync_client
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.support.beats import BeatMaker
from topology.layout import load
from topology.model import Topology


@pytest.fixture
def topology() -> Topology:
    return load()


@pytest.fixture
def app(amqp_url: str, redis_url: str, topology: Topology) -> Penstock:
    return build_app(WorkerConfig(amqp_url=amqp_url, redis_url=redis_url), topology)


@pytest.fixture
def client(redis_url: str):
    with sync_client(redis_url) as client:
        yield client


@pytest.fixture
async def beats(amqp_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[BeatMaker]:
    made: list[Child] = []

    def beat(name: str, **more: str) -> Child:
        variables = {
            "AMQP_URL": amqp_url,
            "REDIS_URL": redis_url,
            "HEALTH_FILE": str(tmp_path / f"{name}.alive"),
            "PYTHONPATH": str(ROOT),
        }
        env = child_environment(**variables | more)
        argv = [sys.executable, "-m", "celery", "-A", "tasks.worker", "beat", "-l", "INFO"]
        child = Child(name, argv, log=tmp_path / f"{name}.log", env=env, cwd=tmp_path)
        made.append(child)
        child.spawn()
        return child

    yield beat
    for child in made:
        await child.kill()
        print(child.name, child.log_tail(60))  # noqa: T201  # shown when a test fails
