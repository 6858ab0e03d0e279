"""`python -m devstack.cluster`: everything as clusters on this machine, until Ctrl-C."""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path

from devstack.cluster.rig import running_cluster
from devstack.errors import StartError
from devstack.install import ensure_servers


def main() -> None:
    """Run until a signal; the exit status is 0 after an ordered stop."""
    parser = argparse.ArgumentParser(prog="python -m devstack.cluster", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to make a folder for data and logs")
    given = parser.parse_args()
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    try:
        ensure_servers(clusters=True)
        asyncio.run(_run(Path(tempfile.mkdtemp(prefix="cluster-", dir=given.folder))))
    except StartError as error:
        sys.exit(f"devstack.cluster: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


async def _run(folder: Path) -> None:
    began = time.monotonic()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def tell(name: str, state: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {name}: {state}", flush=True)

    tell("data and logs", str(folder))
    starting = asyncio.create_task(stopping.wait(), name="wait for a signal")
    async with contextlib.AsyncExitStack() as ends:
        rig = await ends.enter_async_context(running_cluster(folder, tell))
        shown = {"GATEWAY_URL": rig.url, **rig.env}
        for name in ("GATEWAY_URL", "AMQP_URL", "REDIS_URL", "MONGO_URL"):
            print(f"{name}='{shown[name]}'", flush=True)
        await starting
        tell("everything", "stopping")


if __name__ == "__main__":
    main()
