"""Redis as a child: append-only, a password of its own, a private port and data folder."""

from collections.abc import Sequence
from pathlib import Path

from devstack.certificates import TLS_HOST, Certificates
from devstack.children import RUN_MARK, Child
from devstack.ports import LOOPBACK, free_port
from devstack.programs import child_environment, find_redis
from devstack.readiness import ask, until_ready


class Redis:
    """One Redis server.

    Args:
        folder: Data and log; kept from one start to the next.
        port: Port on 127.0.0.1; a free one by default.
        password: Asked of clients; none by default.
        log: Log file; `redis.log` in the folder by default.
        mark: See `Child`.
        maxmemory: Bound of its memory, `0` or a number with a unit (`512mb`); nothing is evicted.
        tls: Serve TLS and nothing else; plain by default.
        more: Lines of configuration besides.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        password: str = "",
        log: Path | None = None,
        mark: str = RUN_MARK,
        maxmemory: str = "0",
        tls: Certificates | None = None,
        more: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.password = password
        self._maxmemory = maxmemory
        self._tls = tls
        self.more = list(more)
        self.child = Child(
            "redis",
            [find_redis(), folder / "redis.conf"],
            log=log or folder / "redis.log",
            env=child_environment(),
            mark=mark,
        )

    @property
    def url(self) -> str:
        """Address of database 0, credentials included."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """Return the address of one of the 64 databases."""
        # With the user's name: redis-cli -u takes an empty one for a user of that name.
        credentials = f"default:{self.password}@" if self.password else ""
        if self._tls is not None:
            ca = self._tls.query("ssl_ca_certs")
            return f"rediss://{credentials}{TLS_HOST}:{self.port}/{database}?{ca}"
        return f"redis://{credentials}{LOOPBACK}:{self.port}/{database}"

    async def start(self, timeout_s: float = 30.0) -> None:
        """Start it and wait until it answers; the data of an earlier run is loaded first.

        Raises:
            StartError: it did not become ready.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(self._config())
        self.child.spawn()
        await until_ready(self.child, self._answers, timeout_s)

    async def stop(self) -> None:
        """Stop it in order; data is on disk."""
        await self.child.stop()

    async def kill(self) -> None:
        """`kill -9`: up to a second of writes may be lost (appendfsync everysec)."""
        await self.child.kill()

    async def restart(self) -> None:
        """Kill it and start it again on the same data and port."""
        await self.kill()
        await self.start()

    async def _answers(self) -> bool:
        tls = self._tls.context() if self._tls else None
        if not self.password:
            return await ask(self.port, b"PING\r\n", 5, tls) == b"+PONG"
        login = f"AUTH {self.password}\r\nPING\r\n".encode()
        return await ask(self.port, login, 10, tls) == b"+OK\r\n+PONG"

    def _config(self) -> str:
        lines = [
            f"bind {LOOPBACK}",
            f"port {0 if self._tls else self.port}",
            f'dir "{self.folder.resolve()}"',
            "databases 64",
            "daemonize no",
            "set-proc-title no",  # it would overwrite the environment that our mark is in
            "save 300 1",
            "appendonly yes",
            "appendfsync everysec",
            # what is kept was promised: at the bound storing is refused, and workers wait
            f"maxmemory {self._maxmemory}",
            "maxmemory-policy noeviction",
            # a subscriber that is slow for a moment is not to lose its subscription
            "client-output-buffer-limit pubsub 256mb 64mb 60",
        ]
        lines += self.more
        if self.password:
            lines.append(f"requirepass {self.password}")
        if self._tls is not None:
            lines += [f"tls-port {self.port}", *self._tls.redis_lines()]
        return "\n".join(lines) + "\n"
