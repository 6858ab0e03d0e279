"""Several gateway processes on one port: each listens with SO_REUSEPORT; metrics add up."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

from gateway.config import GatewayConfig
from penstock.ending_signals import ending_signals
from penstock.looper import Faults

log = logging.getLogger(__name__)

CHILD_MARK = "PENSTOCK_GATEWAY_CHILD"
"""Environment variable that tells a process to serve instead of supervising."""
METRICS_FOLDER = "GATEWAY_METRICS_FOLDER"
"""Where the children add up their metrics."""
_RESTART_PAUSE_S = 1.0


class MetricsFolderError(Exception):
    """Nothing can be written where temporary files go."""


def supervise(config: GatewayConfig) -> int:
    """Keep `config.processes` children serving until a signal that ends; the exit status.

    Raises:
        OSError: Somebody else has the port.
        MetricsFolderError: There is no place for the figures of the children.
    """
    _check_port(config)
    try:
        made = tempfile.TemporaryDirectory(prefix="penstock-metrics-")
    except OSError as error:
        raise MetricsFolderError(
            "GATEWAY_PROCESSES above 1 needs a folder that can be written, for the metrics of the "
            f"processes: mount one at /tmp, or name it in TMPDIR ({error.strerror})"
        ) from error
    with made as folder:
        return _supervise(config, {**os.environ, CHILD_MARK: "1", METRICS_FOLDER: folder})


def _supervise(config: GatewayConfig, environ: dict[str, str]) -> int:
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()

    children = [_spawn(environ) for _ in range(config.processes)]
    for number in ending_signals():
        signal.signal(number, stop)
    faults = Faults("processes")
    while not stopping:
        for index, child in enumerate(children):
            if child.poll() is not None and not stopping:
                log.error("gateway-process-died", extra={"status": child.returncode})
                time.sleep(_RESTART_PAUSE_S)
                try:
                    children[index] = _spawn(environ)
                except OSError as error:  # no memory or no more processes: tried again
                    faults.failed(error)
                else:
                    faults.well()
        time.sleep(0.2)
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(config.drain_notice_s + config.drain_timeout_s + 10)
        if child.poll() is None:
            child.kill()
    return 0


def _spawn(environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start one, which drains when this process is gone and the pipe with it."""
    return subprocess.Popen([sys.executable, "-m", "gateway"], env=environ, stdin=subprocess.PIPE)


def _check_port(config: GatewayConfig) -> None:
    """Bind without sharing: with SO_REUSEPORT a second gateway would quietly join the first."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((config.host, config.port))
