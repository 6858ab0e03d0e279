"""The calls of a worker to Redis, two for each task, sent again over one socket: what they cost it.

    python task_states.py TASKS AT_ONCE

The worker's own code makes the calls (of the checkout that is on PYTHONPATH); here they are
gathered and then sent, AT_ONCE in one write, so that Redis alone is measured. REDIS_URL names it.
Prints one line of JSON.
"""

import json
import os
import socket
import sys
import uuid
from collections.abc import Sequence
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from celery.app.task import Context

from penstock.wire.headers import TENANT_HEADER
from tasks.app import build_app
from tasks.config import WorkerConfig
from topology.layout import load

_STARTED_AT = "2026-01-31T12:00:00.123456+00:00"
_SIGNED = "-1405a1b2c3d4e5f60718"
"""What an id of the gateway has behind its UUID."""
_AT_A_TIME = 2_000
"""Tasks whose calls are made, then sent."""


class Recorder:
    """In place of what calls scripts: keeps the commands, and answers that the task may start."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.texts: set[str] = set()

    def call(
        self, script: Any, keys: Sequence[str], args: Sequence[str | int], _copies: int = 0
    ) -> bytes:
        """Keep a call."""
        self.texts.add(script.text)
        self.commands.append(command("EVALSHA", script.sha, len(keys), *keys, *args))
        return b"start"


class Server:
    """A connection to Redis."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers: BinaryIO = self._socket.makefile("rb")

    def send(self, *commands: bytes) -> list[bytes]:
        """Send commands in one write; their answers, none of which is an array.

        Raises:
            OSError: An answer is an error.
        """
        self._socket.sendall(b"".join(commands))
        return [self._answer() for _ in commands]

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        lines = self.send(command("INFO", section))[0].decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def cpu_s(self) -> float:
        """Return the processor seconds that Redis used so far, in all its threads."""
        cpu = self.info("cpu")
        return float(cpu["used_cpu_sys"]) + float(cpu["used_cpu_user"])

    def memory(self) -> int:
        """Return the octets that Redis has allocated for what it holds."""
        return int(self.info("memory")["used_memory"])

    def _answer(self) -> bytes:
        line = self._answers.readline()
        if line.startswith(b"-"):
            raise OSError(line.decode())
        if line.startswith(b"$"):
            return self._answers.read(int(line[1:]) + 2)[:-2]
        return line[1:-2]


def command(*words: str | int) -> bytes:
    """Return a command as RESP has it: an array of strings with their lengths in octets."""
    told = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = str(word).encode()
        told.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(told)


def record(backend: Any, count: int) -> Recorder:
    """Return the calls of so many tasks that start and succeed."""
    backend.scripts = recorder = Recorder()
    for _ in range(count):
        request = Context(
            {
                "id": f"{uuid.uuid4()}{_SIGNED}",
                "task": "demo.add",
                "hostname": "celery@worker-1",
                "retries": 0,
                "headers": {TENANT_HEADER: "bench"},
                "delivery_info": {"redelivered": False},
            }
        )
        request.started_at = _STARTED_AT
        backend.start(request, tracked=True, retried=False)
        backend.store_result(request.id, 5, "SUCCESS", request=request)
    return recorder


def main() -> None:
    """Measure what the arguments say."""
    count, at_once = int(sys.argv[1]), int(sys.argv[2])
    server, used_s, done = Server(os.environ["REDIS_URL"]), 0.0, 0
    with build_app(WorkerConfig(redis_url=os.environ["REDIS_URL"]), load()) as app:
        held = server.memory()
        while done < count:
            recorder = record(app.backend, min(_AT_A_TIME, count - done))
            for text in recorder.texts:
                server.send(command("SCRIPT", "LOAD", text))
            before = server.cpu_s()
            for place in range(0, len(recorder.commands), at_once):
                server.send(*recorder.commands[place : place + at_once])
            used_s += server.cpu_s() - before
            done += _AT_A_TIME
    octets = (server.memory() - held) / count
    print(json.dumps({"cpu_us": used_s * 1e6 / count, "octets": octets}))


if __name__ == "__main__":
    main()
