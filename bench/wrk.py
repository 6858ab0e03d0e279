"""The load generator: wrk from Debian, one thread, its settings printed with every table."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import StartError

_SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk does in one run."""

    connections: int = 256
    """Kept-alive connections, each with one request under way."""
    seconds: float = 5.0
    """Length of a run; whole seconds reach wrk."""

    def told(self) -> str:
        """The command line, for people."""
        return (
            f"wrk -t1 -c{self.connections} -d{self.seconds:g}s --latency --timeout 10s -s wrk.lua"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What wrk counted in one run."""

    requests: int
    seconds: float
    failed: int
    """Answers with a status of 400 and more, and broken connections."""
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests answered with success each second."""
        return (self.requests - self.failed) / self.seconds


def wrk_or_none() -> str | None:
    """Where wrk is."""
    return shutil.which("wrk")


async def drive(
    url: str, body: str, headers: Mapping[str, str], load: Load, *, cpus: str = ""
) -> Outcome:
    """Run wrk once against a URL.

    Args:
        url: Where to.
        body: The JSON that every request carries.
        headers: Besides Content-Type.
        load: How hard and how long.
        cpus: Processors that it may use, as taskset(1) takes them; empty: all.

    Raises:
        StartError: wrk is not installed, or failed.
    """
    program = wrk_or_none()
    if program is None:
        raise StartError("wrk is missing on this machine: apt-get install wrk")
    pinned = ["taskset", "-c", cpus] if cpus else []
    pairs = [part for pair in headers.items() for part in pair]
    # In a file: an argument of a program is limited to 128 KiB.
    with tempfile.NamedTemporaryFile("w", prefix="bench-body-") as file:
        file.write(body)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            *pinned, program, "-t1", f"-c{load.connections}", f"-d{max(1, round(load.seconds))}s",
            "--latency", "--timeout", "10s", "-s", str(_SCRIPT), url, "--", file.name, *pairs,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    return parse(output.decode())


def parse(output: str) -> Outcome:
    """Read what wrk.lua printed.

    Raises:
        StartError: It printed nothing of that kind.
    """
    for line in output.splitlines():
        if line.startswith("OUTCOME "):
            told = json.loads(line.removeprefix("OUTCOME "))
            return Outcome(
                requests=told["requests"],
                seconds=told["duration_us"] / 1e6,
                failed=told["status_errors"] + told["socket_errors"],
                p50_ms=told["p50_us"] / 1e3,
                p99_ms=told["p99_us"] / 1e3,
            )
    raise StartError(f"wrk failed:\n{output}")
