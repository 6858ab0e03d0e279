"""RabbitMQ as a child, with an Erlang port mapper of its own beside it.

Without a private `ERL_EPMD_PORT` the first RabbitMQ on a machine starts a detached epmd that
outlives it, and a second one clashes with the node names there.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from devstack.certificates import TLS_HOST, Certificates
from devstack.children import RUN_MARK, Child
from devstack.ports import LOOPBACK, free_port
from devstack.programs import child_environment, find_epmd, find_rabbitmq
from devstack.rabbit_home import make_home
from devstack.readiness import ask, http_status, listens, until_ready

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1, section 4.2.2
_DIRECTORY_SAVED_AFTER_S = 1.0
_LEADERS_ELECTED_AFTER_S = 5.0
PLUGINS = ("rabbitmq_management", "rabbitmq_consistent_hash_exchange")
"""Enabled: for figures, and for queues with shards."""
_ADVANCED = """\
%% A delayed message that its queue refuses is tried again after 10 s, not after 3 minutes, and
%% 256 such messages, not 32, hold up the delays of all other queues.
[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 10000},
           {dead_letter_worker_consumer_prefetch, 256}]}].
"""
_METHOD_FRAME = b"\x01"  # what Connection.Start begins with


def erlang_flags() -> str:
    """Have the Erlang VM share the machine, as RabbitMQ's documentation on run-time tuning advises.

    Workers and a gateway use the same processors: half of them get a scheduler, which is one that
    need not hand messages to another on small machines, and an idle one sleeps at once.
    """
    schedulers = max(1, len(os.sched_getaffinity(0)) // 2)
    return f"+S {schedulers}:{schedulers} +sbwt none +sbwtdcpu none +sbwtdio none"


class Rabbit:
    """One RabbitMQ node with the management plugin.

    Args:
        folder: Data, configuration and log; kept from one start to the next.
        ports: Numbers for `amqp`, `management`, `dist` and `epmd`; free ones where absent.
        user: Made at the first start on this folder.
        password: Of that user; random by default, so give the old one for an old folder.
        log: Log file; `rabbitmq.log` in the folder by default.
        mark: See `Child`.
        tls: Serve TLS and nothing else, AMQP and management; plain by default.
        name: Of the child, and of its log file.
        node: The part of Erlang's node name before `@localhost`; data folders have it.
        cookie: Erlang's secret that the nodes of one cluster share; made by Erlang by default.
        settings: Further lines of `rabbitmq.conf`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ports: dict[str, int] | None = None,
        user: str = "penstock",
        password: str | None = None,
        log: Path | None = None,
        mark: str = RUN_MARK,
        tls: Certificates | None = None,
        name: str = "rabbitmq",
        node: str = "penstock",
        cookie: str | None = None,
        settings: Sequence[str] = (),
        plugins: Sequence[str] = PLUGINS,
    ) -> None:
        self._plugins = plugins
        self.folder = folder.resolve()
        given = ports or {}
        self.port = given.get("amqp") or free_port()
        self.management_port = given.get("management") or free_port()
        self.dist_port = given.get("dist") or free_port()
        self.epmd_port = given.get("epmd") or free_port()
        self.node = f"{node}@localhost"
        self._cookie = cookie
        self._settings = tuple(settings)
        self.user = user
        self._tls = tls
        self.password = password or secrets.token_urlsafe(18)
        self._ready_at = 0.0
        self.starts = 0
        """How often it has started."""
        log = log or self.folder / f"{name}.log"
        epmd: list[str | Path] = [find_epmd(), "-port", str(self.epmd_port), "-address", LOOPBACK]
        self.epmd = Child("epmd", epmd, log=log, env=child_environment(), mark=mark)
        self._home = self.folder / "home"
        script = self._home / "sbin" / find_rabbitmq().name
        self.child: Child = Child(name, [script], log=log, env=self._env(), mark=mark)

    @property
    def url(self) -> str:
        """Address of the virtual host `/`, credentials included."""
        return self.url_of("/")

    def url_of(self, vhost: str) -> str:
        """Return the address of a virtual host on this server."""
        path = "" if vhost == "/" else quote(vhost, safe="")
        if self._tls is not None:
            ca = self._tls.query("cafile")
            return f"amqps://{self._credentials}@{TLS_HOST}:{self.port}/{path}?{ca}"
        return f"amqp://{self._credentials}@{LOOPBACK}:{self.port}/{path}"

    @property
    def management_url(self) -> str:
        """Address of the management API and pages, credentials included."""
        if self._tls is not None:
            ca = self._tls.query("cafile")
            return f"https://{self._credentials}@{TLS_HOST}:{self.management_port}?{ca}"
        return f"http://{self._credentials}@{LOOPBACK}:{self.management_port}"

    async def start(self, timeout_s: float = 90.0) -> None:
        """Start it and wait until both AMQP and the management API answer.

        Raises:
            StartError: it did not become ready.
        """
        self._write_config()
        await self.start_epmd(timeout_s)
        self.child.spawn()
        await until_ready(self.child, self._answers, timeout_s)
        self._ready_at = time.monotonic()
        self.starts += 1

    async def start_epmd(self, timeout_s: float = 10.0) -> None:
        """Start its port mapper alone, unless it runs.

        Raises:
            StartError: it did not become ready.
        """
        if not self.epmd.running:
            self.epmd.spawn()
            await until_ready(self.epmd, lambda: listens(self.epmd_port), timeout_s)

    async def stop(self) -> None:
        """Stop it in order, which can take 20 s, and epmd after it."""
        await self.child.stop(timeout_s=40.0)
        await self.epmd.stop()

    async def settle(self) -> None:
        """Wait until queues declared just now would survive a `kill -9`.

        RabbitMQ 3.10 writes its directory of quorum queues half a second late (`ra_directory`,
        dets with auto_save 500). A queue that is younger when the node is killed stays without
        a leader for ever: a get on it never answers. Messages need no such wait.
        """
        await asyncio.sleep(_DIRECTORY_SAVED_AFTER_S)

    async def elected(self) -> None:
        """Wait until the queues that were there at the last start have leaders, before deleting.

        RabbitMQ 3.10 starts a dead-letter worker (`rabbit_fifo_dlx_worker`) with each leader. One
        whose queue is deleted in that moment takes the supervisor of all of them down for good,
        and the node then answers each declaration of such a queue with 541.
        """
        await asyncio.sleep(self._ready_at + _LEADERS_ELECTED_AFTER_S - time.monotonic())

    async def kill(self) -> None:
        """`kill -9` the node; what was confirmed is there after the next start.

        Call `settle` first when queues were declared in the last second.
        """
        await self.child.kill()

    def ctl(self, *arguments: str) -> list[str]:
        """Return the command line of a command of `rabbitmqctl`; its environment is the child's."""
        return [str(find_rabbitmq().with_name("rabbitmqctl")), *arguments]

    async def restart(self) -> None:
        """Kill it and start it again on the same data and ports."""
        await self.kill()
        await self.start()

    @property
    def _credentials(self) -> str:
        return f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"

    async def _answers(self) -> bool:
        tls = self._tls.context() if self._tls else None
        if await ask(self.port, _PROTOCOL_HEADER, 1, tls) != _METHOD_FRAME:
            return False
        base = self.management_url.partition("?")[0]
        return await http_status(f"{base}/api/whoami", tls) == 200

    def _env(self) -> dict[str, str]:
        folder = self.folder
        return child_environment(
            HOME=str(folder),  # the Erlang cookie is written there
            ERL_EPMD_PORT=str(self.epmd_port),
            ERL_EPMD_ADDRESS=LOOPBACK,
            RABBITMQ_ALLOW_INPUT="1",  # exec the Erlang VM in place of the shell script
            RABBITMQ_NODENAME=self.node,
            RABBITMQ_DIST_PORT=str(self.dist_port),
            RABBITMQ_CONF_ENV_FILE=str(folder / "rabbitmq-env.conf"),  # not the machine's
            RABBITMQ_CONFIG_FILE=str(folder / "rabbitmq.conf"),
            RABBITMQ_ADVANCED_CONFIG_FILE=str(folder / "advanced.config"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(folder / "enabled_plugins"),
            RABBITMQ_MNESIA_BASE=str(folder / "mnesia"),
            RABBITMQ_LOG_BASE=str(folder / "log"),
            RABBITMQ_PID_FILE=str(folder / "rabbitmq.pid"),
            RABBITMQ_LOGS="-",
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=(
                f"{erlang_flags()} -noinput -kernel inet_dist_use_interface {{127,0,0,1}}"
            ),
        )

    def _write_config(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        make_home(find_rabbitmq(), self._plugins, self._home)
        (self.folder / "rabbitmq-env.conf").touch()
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        (self.folder / "advanced.config").write_text(_ADVANCED)
        if self._cookie is not None:
            cookie = self.folder / ".erlang.cookie"
            cookie.touch(mode=0o600)
            cookie.write_text(self._cookie)
        config = self.folder / "rabbitmq.conf"
        config.touch(mode=0o600)
        lines = [
            *self._listeners(),
            f"default_user = {self.user}",
            f"default_pass = {self.password}",
            "default_user_tags.administrator = true",
            "log.console = true",
            "log.console.level = info",
            "log.file = false",
            *self._settings,
        ]
        config.write_text("\n".join(lines) + "\n")

    def _listeners(self) -> list[str]:
        if self._tls is None:
            return [
                f"listeners.tcp.1 = {LOOPBACK}:{self.port}",
                f"management.tcp.ip = {LOOPBACK}",
                f"management.tcp.port = {self.management_port}",
            ]
        lines = [
            "listeners.tcp = none",
            f"listeners.ssl.1 = {LOOPBACK}:{self.port}",
            f"management.ssl.ip = {LOOPBACK}",
            f"management.ssl.port = {self.management_port}",
        ]
        for options in ("ssl_options", "management.ssl"):
            lines += [
                f"{options}.cacertfile = {self._tls.ca}",
                f"{options}.certfile = {self._tls.certificate}",
                f"{options}.keyfile = {self._tls.key}",
            ]
        return lines
