"""Redis that fails over: a primary, its replicas and three Sentinels as children."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from devstack.certificates import TLS_HOST, Certificates
from devstack.children import RUN_MARK, Child
from devstack.ports import LOOPBACK, free_port
from devstack.programs import child_environment, find_redis
from devstack.readiness import ask, until_ready
from devstack.redis_server import Redis

PRIMARY_NAME = "penstock"
"""What the Sentinels call the primary."""
DOWN_AFTER_S = 3
"""A primary that is silent for so long is replaced."""
MAX_LAG_S = 2
"""A primary whose replica was silent for longer takes no write: less than `DOWN_AFTER_S`, so that
one that is cut off has stopped before there is another."""
_SENTINELS = 3
_QUORUM = 2


class Sentinel:
    """One Sentinel.

    Args:
        folder: Its configuration, which it writes itself, and its log.
        servers: The password of the servers; empty: none.
        password: Asked of clients, and of other Sentinels; empty: none.
        port: Port on 127.0.0.1.
        tls: Serve TLS, and expect it of the servers.
        mark: See `Child`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        servers: str,
        password: str,
        port: int,
        tls: Certificates | None,
        mark: str,
    ) -> None:
        self.folder = folder
        self.port = port
        self._servers = servers
        self._password = password
        self._tls = tls
        self.child = Child(
            folder.name,
            [find_redis(), folder / "sentinel.conf", "--sentinel"],
            log=folder / "sentinel.log",
            env=child_environment(),
            mark=mark,
        )

    async def start(self, primary: int = 0, timeout_s: float = 30.0) -> None:
        """Start it and wait until it answers.

        Args:
            primary: Port of the primary, at its first start; later it knows better.
            timeout_s: Seconds until that counts as failed.

        Raises:
            StartError: it did not become ready.
        """
        config = self.folder / "sentinel.conf"
        if not config.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            config.touch(mode=0o600)
            config.write_text(self._config(primary))
        self.child.spawn()
        await until_ready(self.child, self._answers, timeout_s)

    async def stop(self) -> None:
        """Stop it in order."""
        await self.child.stop()

    async def kill(self) -> None:
        """`kill -9`."""
        await self.child.kill()

    async def ask(self, command: str, octets: int) -> bytes:
        """Return the first octets of its answer to a command."""
        login = f"AUTH {self._password}\r\n" if self._password else ""
        tls = self._tls.context() if self._tls else None
        skipped = len("+OK\r\n") if login else 0
        answer = await ask(self.port, f"{login}{command}\r\n".encode(), skipped + octets, tls)
        return answer[skipped:]

    async def _answers(self) -> bool:
        return await self.ask("PING", 5) == b"+PONG"

    def _config(self, primary: int) -> str:
        host = TLS_HOST if self._tls else LOOPBACK
        lines = [
            f"bind {LOOPBACK}",
            f"port {0 if self._tls else self.port}",
            f'dir "{self.folder.resolve()}"',
            "set-proc-title no",
            "sentinel resolve-hostnames yes",
            "sentinel announce-hostnames yes",
            f"sentinel announce-ip {host}",
            f"sentinel announce-port {self.port}",
            f"sentinel monitor {PRIMARY_NAME} {host} {primary} {_QUORUM}",
            f"sentinel down-after-milliseconds {PRIMARY_NAME} {DOWN_AFTER_S * 1000}",
            f"sentinel failover-timeout {PRIMARY_NAME} 10000",
        ]
        if self._servers:
            lines.append(f"sentinel auth-pass {PRIMARY_NAME} {self._servers}")
        if self._password:
            lines += [f"requirepass {self._password}", f"sentinel sentinel-pass {self._password}"]
        if self._tls is not None:
            lines += [f"tls-port {self.port}", "tls-replication yes", *self._tls.redis_lines()]
        return "\n".join(lines) + "\n"


class RedisSentinels:
    """A primary, replicas and three Sentinels that make one of these a primary when need be.

    Args:
        folder: Data, configurations and logs.
        password: Asked of clients of the servers; none by default.
        sentinel_password: Asked of clients of the Sentinels; none by default.
        mark: See `Child`.
        tls: Serve TLS and nothing else; plain by default.
        more: Lines of configuration of every server besides.
        replicas: How many follow the primary.
        seen_at: Port at which the others find the first primary, of a proxy; its own by default.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str = "",
        sentinel_password: str = "",
        mark: str = RUN_MARK,
        tls: Certificates | None = None,
        more: Sequence[str] = (),
        replicas: int = 1,
        seen_at: int | None = None,
    ) -> None:
        self._password = password
        self._sentinel_password = sentinel_password
        self._tls = tls
        ports = [free_port() for _ in range(1 + replicas)]
        self._first = seen_at or ports[0]
        host = TLS_HOST if tls else LOOPBACK
        self.servers = tuple(
            Redis(
                folder / f"redis-{number}",
                port=port,
                password=password,
                mark=mark,
                tls=tls,
                more=[
                    f"replica-announce-ip {host}",
                    *([f"masterauth {password}"] if password else []),
                    *(["tls-replication yes"] if tls else []),
                    *([f"replicaof {host} {self._first}"] if number else []),
                    *more,
                ],
            )
            for number, port in enumerate(ports)
        )
        """The first primary, and its replicas."""
        self.sentinels = tuple(
            Sentinel(
                folder / f"sentinel-{number}",
                servers=password,
                password=sentinel_password,
                port=free_port(),
                tls=tls,
                mark=mark,
            )
            for number in range(_SENTINELS)
        )

    @property
    def url(self) -> str:
        """What clients are given as `REDIS_URL`."""
        host = TLS_HOST if self._tls else LOOPBACK
        credentials = f"default:{self._password}@" if self._password else ""
        hosts = ",".join(f"{host}:{one.port}" for one in self.sentinels)
        query = [self._tls.query("ssl_ca_certs")] if self._tls else []
        if self._sentinel_password:
            query.append(f"sentinel_password={self._sentinel_password}")
        scheme = "rediss" if self._tls else "redis"
        url = f"{scheme}+sentinel://{credentials}{hosts}/{PRIMARY_NAME}/0"
        return f"{url}?{'&'.join(query)}" if query else url

    async def start(self) -> None:
        """Start all, and wait until each Sentinel knows the replicas and the others.

        Raises:
            StartError: something did not become ready.
        """
        for server in self.servers:
            await server.start()
        for sentinel in self.sentinels:
            await sentinel.start(self._first)
        for sentinel in self.sentinels:
            await until_ready(sentinel.child, partial(self._knows_all, sentinel), 30.0)

    async def stop(self) -> None:
        """Stop all; the Sentinels first, or they would see a failure."""
        await asyncio.gather(*(one.kill() for one in self.sentinels))
        await asyncio.gather(*(one.stop() for one in self.servers))

    async def primary(self) -> Redis:
        """Return the server that most Sentinels take for the primary."""
        ports = [await self._primary_of(one) for one in self.sentinels if one.child.running]
        most = max(ports, key=ports.count)
        known = {one.port: one for one in self.servers} | {self._first: self.servers[0]}
        return known[most]

    async def _primary_of(self, sentinel: Sentinel) -> int:
        host = TLS_HOST if self._tls else LOOPBACK
        port = str(self.servers[0].port)
        octets = len(f"*2\r\n${len(host)}\r\n{host}\r\n${len(port)}\r\n{port}\r\n")
        answer = await sentinel.ask(f"SENTINEL GET-MASTER-ADDR-BY-NAME {PRIMARY_NAME}", octets)
        return int(answer.split(b"\r\n")[4])

    async def _knows_all(self, sentinel: Sentinel) -> bool:
        quorum = await sentinel.ask(f"SENTINEL CKQUORUM {PRIMARY_NAME}", 4)
        others = await sentinel.ask(f"SENTINEL SENTINELS {PRIMARY_NAME}", 4)
        replicas = await sentinel.ask(f"SENTINEL REPLICAS {PRIMARY_NAME}", 4)
        return (
            quorum == b"+OK "
            and others == b"*%d\r\n" % (_SENTINELS - 1)
            and replicas == b"*%d\r\n" % (len(self.servers) - 1)
        )
