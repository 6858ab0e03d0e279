"""`make demo`: a real data set through the gateway, counted where it ends.

Uses the `make run` of this folder when one is up, else a stack of its own for as long as it takes.
"""

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import airportsdata
from pymongo import AsyncMongoClient

from devstack.errors import StartError
from devstack.install import ensure_servers
from devstack.product import ROOT
from devstack.readiness import http_status
from devstack.settings_files import read_settings
from devstack.stack import Stack
from devstack.terminal import Terminal

_COLLECTION = "airports"
_PER_REQUEST = 1_000
_BAR_WIDTH = 40
_STORED_WITHIN_S = 60.0


async def ingest_airports(env: Mapping[str, str]) -> int:
    """Send every airport and wait until MongoDB has all of them.

    Args:
        env: `GATEWAY_URL`, `MONGO_URL`, and `API_KEY` when the gateway asks for one.

    Returns:
        How many documents the collection holds.

    Raises:
        StartError: the gateway refused, or the documents did not arrive in time.
    """
    airports = list(airportsdata.load("ICAO").values())
    url = f"{env['GATEWAY_URL']}/v1/ingest/{_COLLECTION}?key=icao"
    headers = {"Content-Type": "application/x-ndjson"}
    if "API_KEY" in env:
        headers["Authorization"] = f"Bearer {env['API_KEY']}"
    started = time.monotonic()
    sent = 0
    async with aiohttp.ClientSession(headers=headers) as session:
        for chunk in _chunks(airports):
            body = "".join(json.dumps(airport) + "\n" for airport in chunk)
            async with session.post(url, data=body.encode()) as answer:
                if answer.status != 202:
                    raise StartError(f"the gateway answered {answer.status}: {await answer.text()}")
                sent += (await answer.json())["accepted"]
            _bar("accepted", sent, len(airports), started)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(env["MONGO_URL"])
    async with client:
        collection = client.get_default_database().get_collection(_COLLECTION)
        deadline = time.monotonic() + _STORED_WITHIN_S
        while (stored := await collection.count_documents({})) < len(airports):
            if time.monotonic() > deadline:
                raise StartError(f"only {stored} of {len(airports)} documents are in MongoDB")
            _bar("stored", stored, len(airports), started)
            await asyncio.sleep(0.1)
        _bar("stored", stored, len(airports), started)
        highest = await collection.find_one(sort=[("elevation", -1)])
    print(f"\n{stored} documents in the collection {_COLLECTION} at {env['MONGO_URL']}")
    if highest:
        print(f"the highest airport is {highest['name']} at {highest['elevation']:.0f} ft")
    return stored


def _chunks(airports: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(airports), _PER_REQUEST):
        yield airports[start : start + _PER_REQUEST]


def _bar(what: str, done: int, total: int, started: float) -> None:
    share = done / total
    full = round(share * _BAR_WIDTH)
    ends = "\n" if done >= total or not sys.stdout.isatty() else ""
    start = "\r" if sys.stdout.isatty() else ""
    print(
        f"{start}{what:<9}▕{'█' * full}{' ' * (_BAR_WIDTH - full)}▏ {done:>6} of {total} "
        f"after {time.monotonic() - started:4.1f} s",
        end=ends,
        flush=True,
    )


@contextlib.asynccontextmanager
async def _running_stack() -> AsyncIterator[Mapping[str, str]]:
    env = read_settings(ROOT / ".devstack" / "env")
    with contextlib.suppress(aiohttp.ClientError, OSError):
        if env and await http_status(f"{env['GATEWAY_URL']}/healthz") == 200:
            yield env
            return
    print("no `make run` is up in this folder: starting servers for the demo")
    ensure_servers()
    with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder:
        async with Stack(Path(folder), tell=Terminal().progress) as stack:
            yield stack.env


async def _main() -> None:
    async with _running_stack() as env:
        await ingest_airports(env)


def main() -> None:
    """Run the demo."""
    try:
        asyncio.run(_main())
    except StartError as error:
        sys.exit(f"make demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
