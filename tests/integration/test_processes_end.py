"""A gateway ends in order, whichever way it is told to, and leaves nothing that holds its port."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from devstack.children import Child
from devstack.ports import LOOPBACK, free_port, is_free
from devstack.product import ROOT
from devstack.programs import child_environment
from penstock.ending_signals import ending_signals
from tests.support.waiting import eventually


def without_servers(folder: Path, port: int, processes: int, *command: str) -> Child:
    """A gateway in so many processes, whose servers are away."""
    away = free_port()
    env = child_environment(
        AMQP_URL=f"amqp://{LOOPBACK}:{away}/",
        REDIS_URL=f"redis://{LOOPBACK}:{away}/0",
        GATEWAY_PORT=str(port),
        GATEWAY_PROCESSES=str(processes),
    )
    argv = [*command, sys.executable, "-m", "gateway"]
    return Child("gateway", argv, log=folder / "gateway.log", env=env, cwd=ROOT)


@pytest.fixture
async def gateway(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Child, int]]:
    """A gateway that answers, and its port."""
    port = free_port()
    child = without_servers(tmp_path, port, request.param)
    child.spawn()
    async with aiohttp.ClientSession(f"http://{LOOPBACK}:{port}") as session:

        async def answers() -> bool:
            try:
                async with session.get("/healthz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        try:
            await eventually(answers, timeout_s=30)
            yield child, port
        finally:
            await child.kill()


@pytest.mark.parametrize("gateway", [1], indirect=True)
async def test_a_terminal_that_is_closed_ends_it_in_order(gateway):
    child, port = gateway
    child.signal(signal.SIGHUP)

    assert await asyncio.wait_for(child.wait(), 20) == 0
    assert is_free(port, LOOPBACK)


@pytest.mark.parametrize("gateway", [2], indirect=True)
async def test_its_processes_end_when_the_one_that_started_them_is_killed(gateway):
    child, port = gateway
    os.kill(child.pid, signal.SIGKILL)  # the first alone
    await child.wait()

    await eventually(lambda: is_free(port, LOOPBACK), timeout_s=10)


def test_below_nohup_a_closed_terminal_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in ending_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGTERM in ending_signals()


async def test_where_nothing_can_be_written_the_remedy_is_named(tmp_path: Path):
    # Root may write anywhere; files of no octets are for root, too.
    child = without_servers(
        tmp_path, free_port(), 2, "sh", "-c", '(ulimit -f 0; exec "$@") 2>&1 | cat', "sh"
    )
    child.spawn()
    await asyncio.wait_for(child.wait(), 30)

    assert b"TMPDIR" in child.logged()
