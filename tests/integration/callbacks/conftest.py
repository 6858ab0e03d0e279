"""A deployment, a receiver of callbacks, and gateways that may call it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.deployment.lasting import Lasting
from tests.support.receiver import Receiver, receiving

SECRET = b"the receiver knows it"


@pytest.fixture
async def deployment(lasting_deployment: Lasting) -> Lasting:
    await lasting_deployment.clear()
    return lasting_deployment


@pytest.fixture
async def unannounced(deployment: Lasting) -> None:
    """No worker runs, and the gateway, which starts later, knows no arguments of tasks."""
    await deployment.forget()


@pytest.fixture
def amqp_url(deployment: Lasting) -> str:
    return deployment.amqp_url


@pytest.fixture
def redis_url(deployment: Lasting) -> str:
    return deployment.redis_url


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
def make_calling_gateway(make_gateway):
    async def make(**fields: Any) -> Any:
        return await make_gateway(
            **{
                "callback_hosts": ("127.0.0.1", "localhost"),
                "callback_private": True,
                "callback_secret": SECRET,
                **fields,
            }
        )

    return make


@pytest.fixture
async def calling(make_calling_gateway):
    return await make_calling_gateway()
