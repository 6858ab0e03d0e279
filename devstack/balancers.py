"""HAProxy and nginx in front of gateways, configured as `deploy/balancers` shows it."""

import re
import signal
from collections.abc import Collection, Sequence
from pathlib import Path

from devstack.children import RUN_MARK, Child
from devstack.ports import LOOPBACK, free_port
from devstack.product import ROOT
from devstack.programs import child_environment, find_haproxy, find_nginx
from devstack.readiness import listens, until_ready

CONFIGURATIONS = ROOT / "deploy" / "balancers"
_LISTENS = f"{LOOPBACK}:8000"
_GATEWAYS = re.compile(rf"^(.*){LOOPBACK}:808\d(.*)\n(?:.*{LOOPBACK}:808\d.*\n)*", re.MULTILINE)
"""What stands in the configurations: the address of the balancer, and lines of gateways."""


class Balancer:
    """A balancer; a gateway that is not ready gets no requests while another is.

    Args:
        folder: Its configuration.
        gateways: Ports of the gateways.
        log: Log file.
        mark: See `Child`.
        program: `haproxy` or `nginx`.
    """

    def __init__(
        self,
        folder: Path,
        gateways: Sequence[int],
        *,
        log: Path,
        mark: str = RUN_MARK,
        program: str = "haproxy",
    ) -> None:
        self.port = free_port()
        self._folder = folder
        self._gateways = tuple(gateways)
        argv: list[str | Path]
        if program == "haproxy":
            self._file = "haproxy.cfg"
            argv = [find_haproxy(), "-db", "-f", folder / self._file]
        else:
            self._file = "nginx.conf"
            # Files that nginx would put into folders of the machine go into this one.
            more = f"daemon off; pid {folder}/pid; error_log stderr;"
            argv = [find_nginx(), "-p", folder, "-c", folder / self._file, "-g", more]
        self.child = Child(program, argv, log=log, env=child_environment(), mark=mark)

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
        (self._folder / self._file).write_text(self._configuration())
        self.child.spawn()
        await until_ready(self.child, lambda: listens(self.port), 10.0)

    async def stop(self) -> None:
        """Stop it."""
        await self.child.stop()

    async def kill(self) -> None:
        """`kill -9` it."""
        await self.child.kill()

    def take_out(self, *gateways: int) -> None:
        """Have nginx send nothing to these gateways: `down` in their lines, and a reload.

        Args:
            gateways: Ports; none: all of them are used again.
        """
        (self._folder / self._file).write_text(self._configuration(down=gateways))
        self.child.signal(signal.SIGHUP)

    def _configuration(self, down: Collection[int] = ()) -> str:
        """Return the configuration that is shown, with the addresses of this one in it."""
        text = (CONFIGURATIONS / self._file).read_text(encoding="utf-8")
        text = text.replace(_LISTENS, f"{LOOPBACK}:{self.port}")
        if self._file == "nginx.conf":
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            paths = "".join(f"    {kind}_temp_path {kind};\n" for kind in kinds)
            text = text.replace("http {\n", f"http {{\n    access_log off;\n{paths}", 1)

        def lines(shown: re.Match[str]) -> str:
            before, behind = shown.groups()
            return "".join(
                f"{before.replace('-1', f'-{number}')}{LOOPBACK}:{port}"
                f"{' down;' if port in down else behind}\n"
                for number, port in enumerate(self._gateways, start=1)
            )

        return _GATEWAYS.sub(lines, text)
