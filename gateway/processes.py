"""Several gateway processes on one port: each listens with SO_REUSEPORT, none knows another."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time

from gateway.config import GatewayConfig

log = logging.getLogger(__name__)

CHILD_MARK = "PENSTOCK_GATEWAY_CHILD"
"""Environment variable that tells a process to serve instead of supervising."""
_RESTART_PAUSE_S = 1.0


def supervise(config: GatewayConfig) -> int:
    """Keep `config.processes` children serving until SIGTERM or SIGINT; the exit status.

    Raises:
        OSError: Somebody else has the port.
    """
    _check_port(config)
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()

    children = [_spawn() for _ in range(config.processes)]
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while not stopping:
        for index, child in enumerate(children):
            if child.poll() is not None and not stopping:
                log.error("gateway-process-died", extra={"status": child.returncode})
                time.sleep(_RESTART_PAUSE_S)
                children[index] = _spawn()
        time.sleep(0.2)
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(config.drain_timeout_s + 10)
        if child.poll() is None:
            child.kill()
    return 0


def _spawn() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "gateway"], env={**os.environ, CHILD_MARK: "1"})


def _check_port(config: GatewayConfig) -> None:
    """Bind without sharing: with SO_REUSEPORT a second gateway would quietly join the first."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((config.host, config.port))
