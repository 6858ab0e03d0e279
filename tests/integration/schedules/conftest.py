"""A deployment of the test application, for its beat and its Redis."""

from pathlib import Path

import pytest

from tests.deployment.workers import Deployment


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
