"""HAProxy in front of the gateways."""

from collections.abc import Sequence
from pathlib import Path

from devstack.children import RUN_MARK, Child
from devstack.ports import LOOPBACK, free_port
from devstack.programs import child_environment, find_haproxy
from devstack.readiness import listens, until_ready

_CONFIGURATION = """\
global
    maxconn 4000
defaults
    mode http
    timeout connect 2s
    timeout client 70s
    timeout server 70s
    timeout tunnel 1h
    option redispatch
    retries 2
    retry-on conn-failure
frontend clients
    bind {host}:{port}
    default_backend gateways
backend gateways
    balance leastconn
    option httpchk GET /readyz
    default-server check inter 500ms fall 1 rise 1
{servers}
"""


class Balancer:
    """HAProxy; a gateway that is not ready gets no requests.

    Args:
        folder: Its configuration.
        gateways: Ports of the gateways.
        log: Log file.
        mark: See `Child`.
    """

    def __init__(
        self, folder: Path, gateways: Sequence[int], *, log: Path, mark: str = RUN_MARK
    ) -> None:
        self.port = free_port()
        self._folder = folder
        self._gateways = tuple(gateways)
        self.child = Child(
            "haproxy",
            [find_haproxy(), "-db", "-f", folder / "haproxy.cfg"],
            log=log,
            env=child_environment(),
            mark=mark,
        )

    @property
    def url(self) -> str:
        """Where clients find the gateways."""
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            StartError: it did not become ready.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        servers = "\n".join(
            f"    server gateway-{number} {LOOPBACK}:{port}"
            for number, port in enumerate(self._gateways, start=1)
        )
        text = _CONFIGURATION.format(host=LOOPBACK, port=self.port, servers=servers)
        (self._folder / "haproxy.cfg").write_text(text)
        self.child.spawn()
        await until_ready(self.child, lambda: listens(self.port), 10.0)

    async def stop(self) -> None:
        """Stop it."""
        await self.child.stop()

    async def kill(self) -> None:
        """`kill -9` it."""
        await self.child.kill()
