"""A gateway, and who fills its dead-letter queues."""

from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest

from gateway.config import GatewayConfig
from tests.deployment.gateway import running_gateway
from tests.support.dead_letters import DeadLetterBroker


@pytest.fixture
async def broker(amqp_url) -> AsyncIterator[DeadLetterBroker]:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        yield DeadLetterBroker(await connection.channel())


@pytest.fixture
async def client(amqp_url, redis_url) -> AsyncIterator[Any]:
    config = GatewayConfig(amqp_url=amqp_url, redis_url=redis_url)
    async with running_gateway(config) as client:
        yield client
