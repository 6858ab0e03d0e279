"""Make sure that the machine has the servers: `python -m devstack.install`."""

import os
import shutil
import subprocess
import sys

from devstack.errors import StartError
from devstack.programs import (
    haproxy_or_none,
    mongod_or_none,
    nginx_or_none,
    prometheus_or_none,
    rabbitmq_or_none,
    redis_or_none,
)

_CONTAINERS = "or start everything in containers instead: docker compose up -d --build --wait"


def ensure_servers(*, clusters: bool = False, monitoring: bool = False) -> None:
    """Install RabbitMQ and Redis from Debian when they are missing.

    Args:
        clusters: Whether HAProxy and nginx are needed as well.
        monitoring: Whether Prometheus is needed as well.

    Raises:
        StartError: something is missing that cannot be installed from here; says what, and what
            to do.
    """
    packages = missing_packages(clusters=clusters, monitoring=monitoring)
    if packages:
        _apt_install(packages)
        if still := missing_packages(clusters=clusters, monitoring=monitoring):
            raise StartError(f"installed, and yet not found: {', '.join(still)}")
    if mongod_or_none() is None:
        raise StartError(
            "mongod is missing: the wheel in requirements.lock is for Linux on x86-64 only. "
            f"Put a mongod (6.0 or later) on PATH, {_CONTAINERS}"
        )


def missing_packages(*, clusters: bool = False, monitoring: bool = False) -> list[str]:
    """Return the Debian packages that the servers still need.

    Args:
        clusters: Whether gateways stand behind a balancer, too.
        monitoring: Whether Prometheus scrapes them.
    """
    packages = []
    if rabbitmq_or_none() is None:
        packages.append("rabbitmq-server")
    if redis_or_none() is None:
        packages.append("redis-server")
    if clusters and haproxy_or_none() is None:
        packages.append("haproxy")
    if clusters and nginx_or_none() is None:
        packages.append("nginx")
    if monitoring and prometheus_or_none() is None:
        packages.append("prometheus")
    mongod = mongod_or_none()
    if (
        mongod
        and subprocess.run([mongod, "--version"], capture_output=True, check=False).returncode
    ):
        packages.append("libcurl4")  # what the wheel's mongod needs from the system
    return packages


def _apt_install(packages: list[str]) -> None:
    wanted = " ".join(packages)
    apt = shutil.which("apt-get")
    if apt is None:
        raise StartError(
            f"missing on this machine: {wanted} (Debian's names). Install them, {_CONTAINERS}"
        )
    rights = _rights()
    if rights is None:
        raise StartError(
            f"missing on this machine: {wanted}. Neither root nor sudo is at hand, so ask an "
            f"administrator for: apt-get install {wanted} - {_CONTAINERS}"
        )
    print(f"installing {wanted} from Debian …", flush=True)
    # RUNLEVEL=1: our servers are children of ours; Debian's own services are not to start
    settings = ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive"]
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends"]):
        more = packages if arguments[0] == "install" else []
        done = subprocess.run([*rights, *settings, apt, *arguments, *more], check=False)
        if done.returncode and arguments[0] == "install":
            raise StartError(
                f"apt-get install {wanted} failed with status {done.returncode}. "
                f"Install them, {_CONTAINERS}"
            )


def _rights() -> list[str] | None:
    """Return what to put before a command to run it as root, or None when nothing can."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    if sys.stdin.isatty():
        return [sudo]  # it may ask for a password
    return [sudo, "-n"] if _runs([sudo, "-n", "true"]) else None


def _runs(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Install what is missing for every test, or say what to do."""
    try:
        ensure_servers(clusters=True, monitoring=True)
    except StartError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
