"""Celery of each version, with its own Python environment, beside a gateway on the same broker."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.peers import install, python_of
from devstack.product import ROOT
from tests.deployment.gateway import Gateway, running_gateway
from tests.deployment.workers import Deployment

NEWEST = "5.7"
"""Of this project's own environment; the others have one each, made from their lock."""
VERSIONS = [NEWEST, *(pytest.param(one, marks=pytest.mark.long) for one in ("5.4", "5.5", "5.6"))]
LAYOUT = """
[queues.golden]
owner = "app"

[[routes]]
task = "golden.*"
exchange = ""
routing_key = "golden"
"""


@dataclass
class Celery:
    """Celery's client of one version."""

    deployment: Deployment
    version: str

    async def client(self, does: str, kinds: dict[str, Any], **env: str) -> dict[str, Any]:
        """Run `client.py`."""
        program = await asyncio.create_subprocess_exec(
            self.deployment.python, "tests/conformance/client.py", does, cwd=ROOT,
            env={**os.environ, **self.deployment.environment, **env},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(program.communicate(json.dumps(kinds).encode()), 100)
        assert program.returncode == 0
        found: dict[str, Any] = json.loads(output)
        return found


@pytest.fixture
def celery(version: str, amqp_url: str, redis_url: str, tmp_path: Path) -> Celery:
    """Celery of a version on a virtual host that holds nothing."""
    python: str | Path = sys.executable
    if version != NEWEST:
        install(f"celery-{version}")
        python = python_of(f"celery-{version}")
    deployment = Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app="tests.conformance.celery_app",
        python=python,
    )
    return Celery(deployment, version)


@pytest.fixture
async def http(celery: Celery) -> AsyncIterator[Gateway]:
    """A gateway in front of the application, which knows nothing of it."""
    layout = celery.deployment.folder / "layout.toml"
    layout.write_text(LAYOUT)
    async with running_gateway(
        amqp_url=celery.deployment.amqp_url,
        redis_url=celery.deployment.redis_url,
        topology_file=layout,
    ) as client:
        yield client
