"""Free TCP ports, remembered from one start to the next."""

import json
import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below Linux' range for outgoing connections (32768 and up), so that no client of anybody's
# takes the port of a server that was killed and is about to come back.
_LOWEST = 12_000
_HIGHEST = 31_999
_given: set[int] = set()


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on the port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a free loopback port that this process has not been given before.

    Raises:
        OSError: no port is free in the range.
    """
    for _ in range(5_000):
        port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311  (no secret: a port)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError("no free TCP port on 127.0.0.1")


class PortBook:
    """Ports by name, kept in a file, so that addresses stay the same after a restart.

    Args:
        path: The JSON file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, int] = {}
        if path.exists():
            try:
                self._ports = {str(k): int(v) for k, v in json.loads(path.read_text()).items()}
            except (ValueError, AttributeError):
                self._ports = {}  # a torn file costs the old addresses, nothing else

    def port(self, name: str) -> int:
        """Return the port of that name: the remembered one if it is free, else another."""
        known = self._ports.get(name)
        if known is not None and is_free(known):
            _given.add(known)
            return known
        self._ports[name] = free_port()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._ports, indent=1) + "\n")
        return self._ports[name]
