"""How the history process ends, and what it says of what nobody waits for."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from devstack.product import ROOT
from history.serving import note_unheard

THREAD_THAT_WAITS = """
import runpy, time
from concurrent.futures import ThreadPoolExecutor
ThreadPoolExecutor().submit(time.sleep, 90)
runpy.run_module("history", run_name="__main__", alter_sys=True)
"""


def test_it_ends_whatever_its_threads_wait_for():
    done = subprocess.run(
        [sys.executable, "-c", THREAD_THAT_WAITS], cwd=ROOT, timeout=60, check=False,
        env={**os.environ, "REDIS_URL": "nowhere"}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 2
    assert "REDIS_URL must begin with" in done.stderr


async def test_a_name_that_was_not_found_too_late_is_one_line(caplog: pytest.LogCaptureFixture):
    loop = asyncio.get_running_loop()
    note_unheard(loop)

    for _ in range(3):
        loop.create_future().set_exception(socket.gaierror(-3, "no name server"))

    assert [(one.levelname, one.exc_info) for one in caplog.records] == [("WARNING", None)]
    assert "no name server" in caplog.text
