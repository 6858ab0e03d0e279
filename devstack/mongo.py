"""MongoDB as a child: `mongod` on a private port and data folder."""

from pathlib import Path

from devstack.certificates import TLS_HOST, Certificates
from devstack.children import RUN_MARK, Child
from devstack.ports import LOOPBACK, free_port
from devstack.programs import child_environment, find_mongod
from devstack.readiness import listens, until_ready


class Mongo:
    """One mongod.

    Args:
        folder: Data and log; kept from one start to the next.
        port: Port on 127.0.0.1; a free one by default.
        database: Database named by `url`.
        log: Log file; `mongo.log` in the folder by default.
        mark: See `Child`.
        tls: Serve TLS and nothing else; plain by default.
        name: Of the child, and of its log file.
        replica_set: The one that it is a member of; none by default.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        database: str = "penstock",
        log: Path | None = None,
        mark: str = RUN_MARK,
        tls: Certificates | None = None,
        name: str = "mongo",
        replica_set: str = "",
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.database = database
        self._tls = tls
        argv: list[str | Path] = [
            find_mongod(),
            "--dbpath", folder.resolve() / "data",
            "--bind_ip", LOOPBACK,
            "--port", str(self.port),
            "--nounixsocket",
            "--quiet",
            "--wiredTigerCacheSizeGB", "0.5",  # the default is half of the machine's memory
        ]  # fmt: skip
        if tls is not None:
            argv += [
                "--tlsMode", "requireTLS",
                "--tlsCertificateKeyFile", tls.both,
                "--tlsCAFile", tls.ca,
                "--tlsAllowConnectionsWithoutCertificates",
            ]  # fmt: skip
        if replica_set:
            argv += ["--replSet", replica_set]
        self.child = Child(
            name, argv, log=log or folder / f"{name}.log", env=child_environment(), mark=mark
        )

    @property
    def url(self) -> str:
        """Address; its path is the database that documents go to."""
        return self.url_of(self.database)

    def url_of(self, database: str) -> str:
        """Return the address of a database on this server."""
        if self._tls is not None:
            ca = self._tls.query("tlsCAFile")
            return f"mongodb://{TLS_HOST}:{self.port}/{database}?tls=true&{ca}"
        return f"mongodb://{LOOPBACK}:{self.port}/{database}"

    async def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it listens, which it does after recovery.

        Raises:
            StartError: it did not become ready.
        """
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self.child.spawn()
        await until_ready(self.child, lambda: listens(self.port), timeout_s)

    async def stop(self) -> None:
        """Stop it in order."""
        await self.child.stop()

    async def kill(self) -> None:
        """`kill -9`: what was acknowledged with `j: true` is there after the next start."""
        await self.child.kill()

    async def restart(self) -> None:
        """Kill it and start it again on the same data and port."""
        await self.kill()
        await self.start()
