"""`make run`: everything on this machine, until Ctrl-C."""

import argparse
import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from devstack import console
from devstack.errors import StartError
from devstack.install import ensure_servers
from devstack.marks import kill_marked, marks_below
from devstack.ports import LOOPBACK, PortBook, is_free
from devstack.product import ROOT
from devstack.settings_files import kept_api_key, kept_credentials, write_settings
from devstack.stack import Stack
from devstack.supervisor import Supervisor
from devstack.terminal import READ_EVERY_S, Terminal, follow
from devstack.welcome import welcome
from penstock import VERSION

FOLDER = Path(os.environ.get("DEVSTACK_DIR") or ROOT / ".devstack").resolve()
"""Data, logs and addresses; another one through DEVSTACK_DIR."""
_WRITTEN = (
    "GATEWAY_URL",
    "AMQP_URL",
    "REDIS_URL",
    "MONGO_URL",
    "HISTORY_URL",
    "HISTORY_SECRET",
    "FLOWER_URL",
    "RABBITMQ_MANAGEMENT_URL",
    "API_KEY",
)
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run until a signal; the exit status is 0 after an ordered stop."""
    check_arguments(sys.argv[1:])
    try:
        with _only_one():
            ensure_servers()
            console.build()
            asyncio.run(_run(os.environ))
    except StartError as error:
        sys.exit(f"make run: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # while installing; later it is an ordered stop


def check_arguments(arguments: list[str]) -> None:
    """Explain or refuse the command line; nothing may stand on it.

    Raises:
        SystemExit: after the explanation (0), or the refusal (2).
    """
    parser = argparse.ArgumentParser(
        prog="python -m devstack",
        description="What `make run` does: start RabbitMQ, Redis, MongoDB, history, workers, beat, "
        "Flower and the gateway on this machine, until Ctrl-C. Data, logs and addresses are in "
        ".devstack/.",
        epilog="Environment: GATEWAY_HOST, GATEWAY_PORT, DEVSTACK_DIR (instead of .devstack), "
        "FLOWER (0: without it), RABBITMQ_IMAGE, and whatever gateway and workers read. "
        "`make help` lists the rest: demo, drill, test, bench.",
    )
    parser.add_argument("--version", action="version", version=f"penstock {VERSION}")
    parser.parse_args(arguments)


async def _run(environ: Mapping[str, str]) -> None:
    terminal = Terminal()
    stopping = _stop_on_signals(terminal)
    stack = _stack(environ, terminal)
    watchers: list[asyncio.Task[None]] = []
    logs = {name: unit.child.log for name, unit in stack.units.items()}
    watchers.append(asyncio.create_task(follow(logs, terminal), name="follow the logs"))
    if "MAKELEVEL" in environ:
        watchers.append(asyncio.create_task(_stop_without_parent(stopping), name="watch make"))
    try:
        if await _until(asyncio.create_task(stack.start()), stopping):
            addresses = {name: stack.env[name] for name in _WRITTEN if name in stack.env}
            write_settings(FOLDER / "env", addresses)
            await asyncio.sleep(2 * READ_EVERY_S)  # the log lines of the start come first
            terminal.say(welcome(addresses, _shown(FOLDER)))
            supervisor = Supervisor(stack.units, terminal.event, [stack.rabbit.epmd])
            await _until(asyncio.create_task(supervisor.run()), stopping)
    finally:
        (FOLDER / "env").unlink(missing_ok=True)
        await stack.stop()
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        terminal.event("stopped; the data stays")


def _stack(environ: Mapping[str, str], terminal: Terminal) -> Stack:
    """Return the stack as the environment asks for it.

    Raises:
        StartError: the gateway's port is no number, or taken.
    """
    host = environ.get("GATEWAY_HOST") or LOOPBACK
    port = _gateway_port(environ.get("GATEWAY_PORT") or "8080", host)
    env = {}
    keys_given = any(environ.get(n) for n in ("GATEWAY_KEYS_FILE", "GATEWAY_ALLOW_ANONYMOUS"))
    if not keys_given and not host.startswith("127.") and host not in {"localhost", "::1"}:
        # other machines can reach it: never without a key unless asked for
        key, keys_file = kept_api_key(FOLDER)
        env = {"API_KEY": key, "GATEWAY_KEYS_FILE": str(keys_file)}
    return Stack(
        FOLDER,
        history=True,
        beat=True,
        flower=environ.get("FLOWER") != "0",
        env=env,
        host=host,
        port=port,
        ports=PortBook(FOLDER / "ports.json"),
        credentials=kept_credentials(FOLDER / "secrets"),
        mark=f"{FOLDER}#{secrets.token_hex(4)}",
        tell=terminal.progress,
    )


def _shown(folder: Path) -> str:
    return folder.name if folder.parent == ROOT else str(folder)


def _gateway_port(text: str, host: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:
        raise StartError(f"GATEWAY_PORT={text} is not a port (1-65535)")
    try:
        free = is_free(int(text), host)
    except OSError as error:
        raise StartError(f"GATEWAY_HOST={host} is not an address: {error}") from error
    if not free:
        raise StartError(
            f"{host}:{text} is taken by another program (or GATEWAY_HOST is not an address of "
            "this machine). Choose another port: GATEWAY_PORT=8081 make run"
        )
    return int(text)


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Hold `.devstack/lock`, and take away what a killed run left.

    Raises:
        StartError: another `make run` is at work in this folder.
    """
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (FOLDER / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise StartError(
                f"another `make run` is at work in this folder (process {lock.read().strip()})"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        (FOLDER / "env").unlink(missing_ok=True)
        left = [pid for mark in marks_below(f"{FOLDER}#") for pid in kill_marked(mark)]
        if left:
            print(f"took away {len(left)} processes that a killed run had left", flush=True)
        yield


def _stop_on_signals(terminal: Terminal) -> asyncio.Event:
    """Return an event that the first signal sets; a second one ends everything at once."""
    stopping = asyncio.Event()

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            terminal.event("killing everything at once")
            os._exit(130)  # the reaper kills the children
        terminal.event(f"{number.name}: stopping in order; once more kills at once")
        stopping.set()

    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    return stopping


async def _until(work: asyncio.Task[None], stopping: asyncio.Event) -> bool:
    """Wait for the work or the signal, whichever comes first; tell whether the work was done."""
    signalled = asyncio.create_task(stopping.wait(), name="wait for a signal")
    await asyncio.wait({work, signalled}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if work.done():
        work.result()
        return True
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return False


async def _stop_without_parent(stopping: asyncio.Event) -> None:
    """Stop when `make` is gone: killed with -9 it cannot tell us."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110  (the kernel does not tell it as an event)
        await asyncio.sleep(0.5)
    stopping.set()


if __name__ == "__main__":
    main()
