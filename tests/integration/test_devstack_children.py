"""Children: in order, by force, and after a death of their parent."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.children import Child
from devstack.errors import StartError
from devstack.marks import marked_pids
from devstack.ports import PortBook, free_port
from devstack.process import Process
from devstack.programs import child_environment
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
FAMILY = "trap '' TERM; setsid sleep 300 & sleep 300 & echo family; wait"


def shell(tmp_path: Path, script: str, mark: str = "test-children") -> Child:
    argv = ["/bin/sh", "-c", script]
    return Child("shell", argv, log=tmp_path / "shell.log", env=child_environment(), mark=mark)


def python(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.DEVNULL)


async def test_stop_asks_first_and_reports_the_status(tmp_path: Path):
    child = shell(tmp_path, "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done")
    child.spawn()
    await eventually(lambda: b"up" in child.logged())

    await child.stop()
    assert child.returncode == 3
    assert not child.running


async def test_stop_kills_what_does_not_listen(tmp_path: Path):
    child = shell(tmp_path, FAMILY)
    child.spawn()
    await eventually(lambda: b"family" in child.logged())

    await child.stop(timeout_s=0.1)
    assert child.returncode == -signal.SIGKILL


async def test_logged_tells_the_latest_start_only(tmp_path: Path):
    child = shell(tmp_path, "echo once")
    for _ in range(2):
        child.spawn()
        await child.wait()
        assert child.logged() == b"once\n"


async def test_a_process_that_ends_while_starting_is_reported_with_its_log(tmp_path: Path):
    async def never() -> bool:
        return False

    process = Process(shell(tmp_path, "echo out of luck; exit 7"), never)
    with pytest.raises(StartError, match=r"(?s)status 7.*out of luck"):
        await process.start()


async def test_nothing_outlives_a_parent_that_was_killed(tmp_path: Path):
    program = f"""
import time
from pathlib import Path
from devstack.children import Child
from devstack.programs import child_environment
child = Child("shell", ["/bin/sh", "-c", {FAMILY!r}], log=Path({str(tmp_path / "log")!r}),
              env=child_environment(), mark={str(tmp_path)!r})
child.spawn()
time.sleep(300)
"""
    with python(program) as parent:
        await eventually(lambda: len(marked_pids(str(tmp_path))) == 3, timeout_s=20)
        parent.kill()

    await eventually(lambda: not marked_pids(str(tmp_path)), timeout_s=20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_nothing_outlives_tests_that_were_interrupted(tmp_path: Path, number: signal.Signals):
    (tmp_path / "test_waits.py").write_text(f"""
import time
from pathlib import Path
from devstack.children import Child
from devstack.programs import child_environment

def test_waits():
    child = Child("shell", ["/bin/sh", "-c", {FAMILY!r}], log=Path({str(tmp_path / "log")!r}),
                  env=child_environment(), mark={str(tmp_path)!r})
    child.spawn()
    time.sleep(300)
""")
    program = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs have it ignored
os.execv(sys.executable, [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider",
                          "--rootdir", {str(tmp_path)!r}, {str(tmp_path)!r}])
"""
    with python(program) as tests:
        await eventually(lambda: len(marked_pids(str(tmp_path))) == 3, timeout_s=60)
        tests.send_signal(number)

        await eventually(lambda: not marked_pids(str(tmp_path)), timeout_s=40)
        assert await eventually(lambda: tests.poll() is not None, timeout_s=20)
    assert tests.returncode in {pytest.ExitCode.INTERRUPTED, -number}


def test_a_port_book_keeps_its_ports_while_they_are_free(tmp_path: Path):
    book = PortBook(tmp_path / "ports.json")
    port = book.port("redis")

    assert PortBook(tmp_path / "ports.json").port("redis") == port
    assert book.port("mongo") != port


def test_a_port_book_gives_another_port_when_its_own_is_taken(tmp_path: Path):
    port = PortBook(tmp_path / "ports.json").port("redis")
    with socket.create_server(("127.0.0.1", port)):
        assert PortBook(tmp_path / "ports.json").port("redis") != port


def test_free_ports_are_given_once():
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
