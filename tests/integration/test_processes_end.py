"""A gateway ends in order, whichever way it is told to, and leaves nothing that holds its port."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator

import aiohttp
import pytest

from devstack.ports import LOOPBACK, free_port, is_free
from gateway.config import GatewayConfig
from gateway.processes import MetricsFolderError, supervise
from penstock.ending_signals import ending_signals
from tests.support.waiting import eventually


@pytest.fixture
async def gateway(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Processes of a gateway without servers, and their port."""
    port, away = free_port(), free_port()
    environ = {
        **os.environ,
        "AMQP_URL": f"amqp://{LOOPBACK}:{away}/",
        "REDIS_URL": f"redis://{LOOPBACK}:{away}/0",
        "GATEWAY_PORT": str(port),
        "GATEWAY_PROCESSES": str(request.param),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=environ, stderr=asyncio.subprocess.DEVNULL
    )
    async with aiohttp.ClientSession(f"http://{LOOPBACK}:{port}") as session:

        async def answers() -> bool:
            try:
                async with session.get("/healthz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(answers, timeout_s=30)
    yield process, port
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("gateway", [1], indirect=True)
async def test_a_terminal_that_is_closed_ends_it_in_order(gateway):
    process, port = gateway
    process.send_signal(signal.SIGHUP)

    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert is_free(port, LOOPBACK)


@pytest.mark.parametrize("gateway", [2], indirect=True)
async def test_its_processes_end_when_the_one_that_started_them_is_killed(gateway):
    process, port = gateway
    process.kill()
    await process.wait()

    await eventually(lambda: is_free(port, LOOPBACK), timeout_s=10)


def test_below_nohup_a_closed_terminal_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in ending_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGTERM in ending_signals()


def test_where_nothing_can_be_written_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch):
    # Root may write anywhere, but for what is no folder.
    monkeypatch.setattr(tempfile, "tempdir", os.devnull)

    with pytest.raises(MetricsFolderError, match="TMPDIR"):
        supervise(GatewayConfig(port=free_port(), processes=2))
