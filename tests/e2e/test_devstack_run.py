"""`make run`: up, healed, stopped, killed, and up again on the same data."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio

from devstack.marks import MARK, marked_pids, marks_below
from devstack.ports import free_port
from devstack.settings_files import read_settings
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
ADDRESSES = {
    "GATEWAY_URL",
    "AMQP_URL",
    "REDIS_URL",
    "MONGO_URL",
    "FLOWER_URL",
    "RABBITMQ_MANAGEMENT_URL",
}
UP_WITHIN_S = 90.0
BACK_WITHIN_S = 20.0
_NOT_OF_A_TERMINAL = {MARK, "MAKELEVEL", "RABBITMQ_IMAGE"}
"""`make run` is about this machine's servers, whatever the tests run against."""


class Run:
    def __init__(self, folder: Path, port: int, **more: str) -> None:
        self.folder = folder
        self.port = port
        self.output = folder.parent / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "devstack"],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={k: v for k, v in os.environ.items() if k not in _NOT_OF_A_TERMINAL}
                | {"DEVSTACK_DIR": str(folder), "GATEWAY_PORT": str(port)}
                | more,
            )

    @property
    def env(self) -> dict[str, str]:
        return read_settings(self.folder / "env")

    def pids(self) -> list[int]:
        return [pid for mark in marks_below(f"{self.folder}#") for pid in marked_pids(mark)]

    def pid_of(self, program: str) -> int:
        for pid in self.pids():
            with contextlib.suppress(OSError):  # it has just ended
                line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
                if program in line:
                    return pid
        raise AssertionError(f"no {program} among {self.pids()}")

    async def up(self) -> None:
        await eventually(
            lambda: "Penstock is ready" in self.output.read_text() or self.process.poll(),
            UP_WITHIN_S,
        )
        assert self.process.poll() is None, self.output.read_text()

    async def ended(self) -> int:
        await eventually(lambda: self.process.poll() is not None, 60)
        status = self.process.wait()
        await eventually(lambda: not self.pids(), 20)
        return status


@contextlib.asynccontextmanager
async def running(folder: Path, port: int, **more: str) -> AsyncIterator[Run]:
    run = Run(folder, port, **more)
    try:
        yield run
    finally:
        run.process.kill()
        await run.ended()


@pytest.mark.timeout(600)
async def test_make_run_heals_stops_and_continues_with_its_data(tmp_path: Path):
    folder, port = tmp_path / "state", free_port()
    async with running(folder, port) as run:
        await run.up()
        assert run.env["GATEWAY_URL"] == f"http://127.0.0.1:{port}"
        assert {
            "AMQP_URL",
            "REDIS_URL",
            "MONGO_URL",
            "FLOWER_URL",
            "RABBITMQ_MANAGEMENT_URL",
        } < set(run.env)
        first_env = run.env
        await assert_answers(run.env)
        await assert_flower_shows_queues_and_arguments(run.env["FLOWER_URL"])
        async with redis.asyncio.from_url(run.env["REDIS_URL"]) as client:
            await client.set("kept", "1")

        for program in ("redis-server", "-m gateway", "worker --loglevel", "beam.smp", "mongod"):
            old = run.pid_of(program)
            os.kill(old, signal.SIGKILL)

            def replaced(program: str = program, old: int = old) -> bool:
                return run.pid_of(program) != old

            await eventually(replaced, BACK_WITHIN_S)
        await eventually(lambda: assert_answers(run.env), BACK_WITHIN_S)
        async with redis.asyncio.from_url(run.env["REDIS_URL"]) as client:
            assert await client.get("kept") == b"1"

        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == 0
        assert not run.env

    async with running(folder, port, FLOWER="0") as run:
        await run.up()
        assert run.env == {n: v for n, v in first_env.items() if n != "FLOWER_URL"}
        with pytest.raises(AssertionError, match="no flower"):
            run.pid_of("flower")
        async with redis.asyncio.from_url(run.env["REDIS_URL"]) as client:
            assert await client.get("kept") == b"1"
        second = Run(folder, free_port())
        assert await eventually(second.process.poll, 20) == 1
        assert "another `make run`" in second.output.read_text()

        run.process.kill()
        await run.ended()

    async with running(folder, port) as run:
        await run.up()
        await assert_answers(run.env)
        run.process.terminate()
        assert await run.ended() == 0


async def test_make_run_says_which_port_is_taken(tmp_path: Path):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        async with running(tmp_path / "state", port) as run:
            assert await eventually(run.process.poll, 20) == 1
            assert f"127.0.0.1:{port} is taken" in run.output.read_text()


async def assert_flower_shows_queues_and_arguments(url: str) -> None:
    async with aiohttp.ClientSession() as session:

        async def arguments() -> bool:
            async with session.get(f"{url}/api/tasks?taskname=demo.add") as answer:
                return "[2, 3]" in {one["args"] for one in (await answer.json()).values()}

        await eventually(arguments, 20, 0.2)
        async with session.get(f"{url}/broker") as answer:
            assert {">default<", ">mongo_queue<"} <= {*re.findall(r">\w+<", await answer.text())}


async def assert_answers(env: dict[str, str]) -> bool:
    body = {"task": "demo.add", "args": [2, 3]}
    try:
        async with (
            aiohttp.ClientSession(env["GATEWAY_URL"]) as session,
            session.post("/v1/tasks?wait=10", json=body) as answer,
        ):
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["result"] == 5
    except OSError as error:
        raise AssertionError from error
    return True
