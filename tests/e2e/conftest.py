"""One stack for all end-to-end tests: servers, a worker per pool, a gateway."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from devstack.stack import Stack
from tests.browsing.console import Console, built, console_page


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Everything, up for the whole session; tests leave it as they found it."""
    await built()
    async with Stack(tmp_path_factory.mktemp("stack"), history=True) as running:
        yield running


@pytest_asyncio.fixture
async def http(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose addresses begin at the gateway: `await http.get("/v1/tasks/…")`."""
    async with aiohttp.ClientSession(stack.gateway_url) as session:
        yield session


@pytest.fixture
async def console(stack: Stack) -> AsyncIterator[Console]:
    """The console in a browser; nothing may go wrong there without a word."""
    async with console_page(stack.gateway_url) as page:
        yield page
        assert page.page.complaints == []
